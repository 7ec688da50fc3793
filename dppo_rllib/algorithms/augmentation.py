"""Fine-tuning on shifted pictures."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from dppo_rllib.networks import draw_shifts, random_shift

_ROWS = 512  # moved at once: an index for every pixel takes more memory than the pictures


def shift_pictures(
    pictures: UInt8[Tensor, "R Ti C H W"],
    own_rows: Int[np.ndarray, " R_all"],
    generator: torch.Generator,
) -> UInt8[Tensor, "R Ti C H W"]:
    """Moves each picture of an iteration by a few pixels, all cameras alike.

    Shifts are drawn for the rows of all learners, so that any number of them sees the same.

    Args:
        pictures: Of the own rows.
        own_rows: Which own row each of all rows is, -1 for those of others.
        generator: The same on all learners.
    """
    steps = pictures.shape[1]
    mine = torch.as_tensor(own_rows >= 0)
    drawn = draw_shifts(len(own_rows) * steps, generator=generator).view(len(own_rows), steps, 1, 2)
    shifts = torch.empty_like(drawn[: len(pictures)])
    shifts[torch.as_tensor(own_rows)[mine]] = drawn[mine]
    moved = torch.empty_like(pictures)
    for start in range(0, len(pictures), _ROWS):
        piece = slice(start, start + _ROWS)
        by = shifts[piece].flatten(0, 1).to(pictures.device)
        moved[piece] = random_shift(pictures[piece].flatten(0, 1), by).view_as(moved[piece])
    return moved
