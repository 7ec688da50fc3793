"""D4RL's HDF5 files: flat arrays, in which `terminals` and `timeouts` end episodes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

from dppo_rllib.datasets.convert.hdf5_file import open_hdf5, read_rows
from dppo_rllib.datasets.convert.one_episode import joined_observations, one_episode
from dppo_rllib.datasets.demonstrations import Demonstrations


def d4rl_episodes(
    path: str | Path,
    *,
    fps: float | int,
    task: str = "",
    observation: Sequence[str] = ("observations",),
    episode_steps: int | None = None,
    max_episodes: int | None = None,
) -> Iterator[Demonstrations]:
    """Read a file of D4RL: `observations`, `actions`, `rewards`, `terminals`, `timeouts`.

    The frame with a terminal or a timeout is the last of its episode. What follows the last of
    them was cut where the file ends: it is a truncated episode too.

    Args:
        path: The HDF5 file.
        fps: Environment steps per second, which the file does not say.
        task: What is done, in words; neither does it say that.
        observation: Arrays that make the observation, one after the other, as `observations` and
            `infos/goal`.
        episode_steps: After so many steps an episode is over. Older files have no `timeouts` and
            need it; 0 says that terminals alone end episodes.
        max_episodes: Take the first ones; None takes all.

    Yields:
        Episode by episode; besides, a few bytes a frame are in memory.

    Raises:
        FileNotFoundError: The file is missing.
        ImportError: h5py is missing.
        ValueError: It is no such file, or its arrays do not fit each other.
    """
    file = Path(path)
    with open_hdf5(file) as content:
        arrays = {name: _array(content, name, file) for name in (*observation, "actions")}
        frames = arrays["actions"].shape[0]
        flags = {name: _flags(content, name, frames, file) for name in ("terminals", "timeouts")}
        rewards = content.get("rewards")
        for name, array in (*arrays.items(), ("rewards", rewards)):
            if array is not None and len(array) != frames:
                raise ValueError(
                    f"{file}: {name} has {len(array)} rows, expected {frames}, as many as actions"
                )
        ends = _ends(flags, frames, episode_steps, file)
        terminals = flags["terminals"]
        for episode, end in enumerate(ends[:max_episodes].tolist()):
            first = int(ends[episode - 1]) if episode else 0
            where = f"{file}: episode {episode} (rows {first} to {end - 1})"

            def rows(array: Any, where: str = where, first: int = first, end: int = end) -> Any:
                return read_rows(array, first, end, where)

            terminated = terminals is not None and bool(terminals[end - 1])
            yield one_episode(
                where,
                **joined_observations({name: rows(arrays[name]) for name in observation}, where),
                actions=rows(arrays["actions"]),
                rewards=None if rewards is None else rows(rewards),
                terminated=terminated,
                truncated=not terminated,
                fps=fps,
                task=task,
            )


def is_d4rl(content: Any) -> bool:
    """Whether an open HDF5 file is one of D4RL."""
    return "actions" in content and hasattr(content["actions"], "shape")


def _array(content: Any, name: str, file: Path) -> Any:
    found = content.get(name)
    if found is None or not getattr(found, "shape", ()):
        names: list[str] = []
        content.visititems(lambda n, at: names.append(n) if getattr(at, "shape", ()) else None)
        raise ValueError(f"{file}: has no array {name!r}, only: {', '.join(names)}")
    return found


def _flags(content: Any, name: str, frames: int, file: Path) -> Bool[np.ndarray, " M"] | None:
    if name not in content:
        return None
    values = np.asarray(read_rows(content[name], 0, None, f"{file}: {name}"))
    if values.size != frames:
        raise ValueError(f"{file}: {name} has shape {values.shape}, expected {frames} rows")
    return values.reshape(frames).astype(bool)


def _ends(
    flags: dict[str, Bool[np.ndarray, " M"] | None],
    frames: int,
    episode_steps: int | None,
    file: Path,
) -> Int64[np.ndarray, " E"]:
    """The frame after the last one of each episode."""
    terminals, timeouts = flags["terminals"], flags["timeouts"]
    if timeouts is None and episode_steps is None:
        raise ValueError(
            f"{file}: has no timeouts, so that it does not tell where a time limit ended episodes; "
            "expected episode_steps, the limit, or 0 where there was none"
        )
    last = np.zeros(frames, bool)
    for flag in (terminals, timeouts):
        if flag is not None:
            last |= flag
    last[-1:] = True
    ends = np.flatnonzero(last) + 1
    if not episode_steps:
        return ends
    starts = np.concatenate([[0], ends[:-1]])
    cut = [
        np.arange(s + episode_steps, e, episode_steps) for s, e in zip(starts, ends, strict=True)
    ]
    return np.sort(np.concatenate([ends, *cut])).astype(np.int64)
