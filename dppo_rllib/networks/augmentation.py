"""Random shifts of training pictures (DrQ, arXiv 2004.13649)."""

from __future__ import annotations

import torch
from jaxtyping import Int, Num
from torch import Tensor

PAD = 4  # pixels a picture moves at most, in each direction; the authors'


def draw_shifts(
    batch_size: int,
    num_cameras: int = 1,
    *,
    device: torch.device | str = "cpu",
    generator: torch.Generator | None = None,
) -> Int[Tensor, "B N 2"]:
    """Shifts `(x, y)` of 0 to `2 PAD` for each sample and camera, uniform.

    A generator draws on its own device: one of the host gives the same shifts everywhere.
    """
    source = device if generator is None else generator.device
    size = (batch_size, num_cameras, 2)
    return torch.randint(2 * PAD + 1, size, device=source, generator=generator).to(device)


def random_shift(
    images: Num[Tensor, "B *steps C H W"], shifts: Int[Tensor, "B N 2"]
) -> Num[Tensor, "B *steps C H W"]:
    """Moves pictures by whole pixels; what comes into sight repeats the nearest edge.

    The result is the `H x W` window at `(x, y)` of the picture with `PAD` pixels of its edge
    around. The authors sample the same window with bilinear interpolation, at pixel centres; an
    index is exact, faster, and leaves bytes bytes.

    Args:
        images: Pictures, the channels of `N` cameras one after the other. All steps of a history
            move alike.
        shifts: See `draw_shifts`; `PAD` leaves a picture where it is.

    Raises:
        ValueError: `N` does not divide the channels.
    """
    channels, height, width = images.shape[-3:]
    batch, cameras = shifts.shape[:2]
    if channels % cameras:
        raise ValueError(f"shifts of {cameras} cameras: expected a divisor of {channels} channels")
    x, y = (shifts - PAD).unbind(-1)
    rows = (torch.arange(height, device=images.device) + y[..., None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + x[..., None]).clamp(0, width - 1)
    pixels = (rows[..., :, None] * width + columns[..., None, :]).view(batch, 1, cameras, 1, -1)
    by_camera = images.reshape(batch, -1, cameras, channels // cameras, height * width)
    return by_camera.gather(-1, pixels.expand(by_camera.shape)).view(images.shape)
