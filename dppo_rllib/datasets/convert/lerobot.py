"""LeRobot's own datasets, of v2.0, v2.1 and v3.0, with PNG files or videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.lerobot_layout import INFO_PATH
from dppo_rllib.datasets.lerobot_reader import DatasetReader

# Of demonstrations that are read at a time.
_BLOCK_BYTES = 64 * 2**20


def lerobot_episodes(
    path: str | Path,
    *,
    task: str | None = None,
    max_episodes: int | None = None,
) -> Iterator[Demonstrations]:
    """Read a dataset of LeRobot, with the pictures of all its cameras.

    They need no conversion to be trained on; converted, they are of v3.0, in row groups of whole
    episodes, with PNG files instead of videos, which are slower to decode.

    Args:
        path: The dataset's directory.
        task: What is done, in words; None says it as the dataset does.
        max_episodes: Take the first ones; None takes all.

    Yields:
        Some episodes at a time, of 64 MiB together.

    Raises:
        FileNotFoundError: A file is missing.
        ImportError: There are videos, and PyAV is missing.
        ValueError: As for `read_demonstrations`.
    """
    reader = DatasetReader(path)
    for block in reader.blocks(_BLOCK_BYTES, np.arange(reader.num_episodes)[:max_episodes]):
        part = reader.read(block)
        yield part if task is None else replace(part, task=task)


def is_lerobot(path: Path) -> bool:
    """Whether a directory holds one."""
    return (path / INFO_PATH).is_file()
