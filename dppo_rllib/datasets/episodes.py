"""Episodes as they are recorded, step by step, and many of them as demonstrations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from dppo_rllib.datasets.demonstrations import Demonstrations


@dataclass
class Episode:
    """The transitions of one episode, in order; pictures are channels first, or there are none."""

    observations: list[np.ndarray] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.rewards)


def as_demonstrations(episodes: Sequence[Episode], fps: float, task: str) -> Demonstrations:
    """All episodes in one; they lose their pictures, so that memory does not double.

    Args:
        episodes: At least one.
        fps: Environment steps per second.
        task: What is done, in words.
    """
    lengths = np.array([len(episode) for episode in episodes], dtype=np.int64)
    last = np.cumsum(lengths) - 1
    terminated = np.zeros(lengths.sum(), dtype=bool)
    truncated = np.zeros(lengths.sum(), dtype=bool)
    terminated[last] = [e.terminated for e in episodes]
    truncated[last] = [e.truncated for e in episodes]
    demonstrations = Demonstrations(
        observations=np.concatenate([e.observations for e in episodes]),
        actions=np.concatenate([e.actions for e in episodes]),
        rewards=np.concatenate([np.asarray(e.rewards, dtype=np.float32) for e in episodes]),
        terminated=terminated,
        truncated=truncated,
        episode_lengths=lengths,
        fps=fps,
        task=task,
        images=_take_pictures(episodes, int(lengths.sum())),
    )
    demonstrations.validate()
    return demonstrations


def _take_pictures(episodes: Sequence[Episode], frames: int) -> UInt8[np.ndarray, "M C H W"] | None:
    if not episodes[0].pictures:
        return None
    images = np.empty((frames, *episodes[0].pictures[0].shape), np.uint8)
    start = 0
    for episode in episodes:
        for row, picture in enumerate(episode.pictures, start=start):
            images[row] = picture
        start += len(episode.pictures)
        episode.pictures.clear()
    return images
