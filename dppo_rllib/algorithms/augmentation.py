"""Fine-tuning on shifted pictures."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from dppo_rllib.algorithms.accumulation import balanced_pieces
from dppo_rllib.modules.policy import ChunkPolicy
from dppo_rllib.networks import draw_shifts, random_shift


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
    return random_shift(pictures.flatten(0, 1), shifts.flatten(0, 1).to(pictures.device)).view_as(
        pictures
    )


@torch.no_grad()
def chain_log_probs(
    policy: ChunkPolicy,
    obs: dict[str, Tensor],
    chains: Float[Tensor, "R K_ft_1 Tp Da"],
    largest: int,
) -> Float[Tensor, "R K_ft"]:
    """Log-probabilities of chains under the present policy.

    Args:
        policy: It need not be the one that sampled them.
        obs: Observation histories, one row per chain.
        chains: What to score.
        largest: Rows of one pass.
    """
    steps = policy.chain_steps
    parts = []
    for piece in balanced_pieces(len(chains), largest, threads=1):
        encoded = policy.encode({key: value[piece] for key, value in obs.items()})
        columns = [
            policy.log_prob(
                encoded,
                chains[piece, k],
                chains[piece, k + 1],
                torch.full((len(chains[piece]),), k, device=chains.device),
            )
            for k in range(steps)
        ]
        parts.append(torch.stack(columns, dim=1))
    return torch.cat(parts)
