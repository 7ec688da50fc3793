"""The shape of a dataset's pictures, without reading any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from dppo_rllib.datasets.lerobot_files import read_info
from dppo_rllib.datasets.lerobot_images import cameras_of
from dppo_rllib.datasets.lerobot_layout import INFO_PATH


def read_image_shape(
    path: str | os.PathLike[str], *, cameras: Sequence[str] | None = None
) -> tuple[int, int, int] | None:
    """`(C, H, W)` of one step's pictures, the channels of all cameras together; None without any.

    Args:
        path: The dataset's directory.
        cameras: As in `read_demonstrations`.

    Raises:
        FileNotFoundError: There is no dataset.
        ValueError: It is none of ours, there is no such camera, or cameras differ in their size.
    """
    root = Path(path)
    shapes = list(cameras_of(read_info(root), cameras, root / INFO_PATH).values())
    return (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes else None
