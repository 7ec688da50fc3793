"""Episodes: as they are recorded, step by step, and demonstrations taken apart and together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dppo_rllib.datasets.demonstrations import Demonstrations


@dataclass
class Episode:
    """The transitions of one episode, in order.

    Pictures are channels first, or there are none. Success is None where a step does not tell it.
    """

    observations: list[np.ndarray] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)
    actions: list[np.ndarray] = field(default_factory=list)
    rewards: list[float] = field(default_factory=list)
    success: list[bool | None] = field(default_factory=list)
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
    success = [told for episode in episodes for told in episode.success]
    demonstrations = Demonstrations(
        observations=np.concatenate([e.observations for e in episodes]),
        actions=np.concatenate([e.actions for e in episodes]),
        rewards=np.concatenate([np.asarray(e.rewards, dtype=np.float32) for e in episodes]),
        terminated=terminated,
        truncated=truncated,
        episode_lengths=lengths,
        fps=fps,
        task=task,
        success=np.array(success, bool) if any(told is not None for told in success) else None,
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


def each_episode(demonstrations: Demonstrations) -> Iterator[Demonstrations]:
    """Its episodes one by one, in the same memory."""
    ends = np.cumsum(demonstrations.episode_lengths)
    for i, end in enumerate(ends.tolist()):
        length = demonstrations.episode_lengths[i : i + 1]
        yield demonstrations.take(slice(end - int(length[0]), end), length)


def concatenate(parts: Iterable[Demonstrations]) -> Demonstrations:
    """Demonstrations end to end; a single part is returned as it is.

    Raises:
        ValueError: There is no part, or one does not fit the first.
    """
    found = list(parts)
    if not found:
        raise ValueError("demonstrations have no part, expected at least one episode")
    first, episodes = found[0], 0
    if len(found) == 1:
        return first
    for part in found:
        check_alike(first, part, episodes)
        episodes += part.num_episodes

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in found])

    return replace(
        first,
        observations=joined("observations"),
        actions=joined("actions"),
        rewards=joined("rewards"),
        terminated=joined("terminated"),
        truncated=joined("truncated"),
        episode_lengths=joined("episode_lengths"),
        success=None if first.success is None else joined("success"),
        images=None if first.images is None else joined("images"),
    )


def check_alike(first: Demonstrations, part: Demonstrations, episode: int) -> None:
    """Refuses a part that cannot be in one dataset with the first.

    Args:
        first: The first part.
        part: Another one.
        episode: The number of its first episode.

    Raises:
        ValueError: Names the episode, what differs, and what was expected.
    """
    for name, find in _ALIKE.items():
        if find(part) != find(first):
            raise ValueError(
                f"episode {episode}: {name} is {find(part)!r}, expected {find(first)!r}, "
                "as in those before it"
            )


_ALIKE: dict[str, Callable[[Demonstrations], Any]] = {
    "observations' width": lambda d: d.observations.shape[1:],
    "actions' width": lambda d: d.actions.shape[1:],
    "pictures' (C, H, W)": lambda d: None if d.images is None else d.images.shape[1:],
    "success": lambda d: "not told" if d.success is None else "told",
    "camera_names": lambda d: d.camera_names,
    "observation_names": lambda d: d.observation_names,
    "action_names": lambda d: d.action_names,
    "fps": lambda d: d.fps,
    "task": lambda d: d.task,
}
