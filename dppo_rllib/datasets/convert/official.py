"""The authors' `train.npz`, and the D4RL-like npz with `timeouts`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from dppo_rllib.datasets.convert.npz_rows import RowReader, open_npz, read_array
from dppo_rllib.datasets.convert.one_episode import as_floats, one_episode
from dppo_rllib.datasets.demonstrations import Demonstrations

_EPSILON = 1e-6


def official_episodes(
    path: str | Path,
    *,
    fps: float | int,
    task: str = "",
    normalization: str | Path | None = None,
    pixels: bool = False,
    max_episodes: int | None = None,
) -> Iterator[Demonstrations]:
    """Read an npz of flat arrays, `traj_lengths` rows of which are an episode.

    Two layouts: `states, actions, rewards, terminals, traj_lengths` (official, with pictures also
    `images`), and `observations, actions, rewards, terminals, timeouts, traj_lengths`. Rewards and
    ends may be missing (rewards are 0 then); other arrays are left alone. Where only the last frame
    of an episode is neither terminal nor a time limit, the episode was cut: it is truncated.

    Args:
        path: The npz.
        fps: Environment steps per second, which the file does not say.
        task: What is done, in words; neither does it say that.
        normalization: The authors' `train.npz` is normalised to [-1, 1]; their
            `normalization.npz` beside it turns it back, up to rounding. None takes values as
            they are.
        pixels: Take `images`, `[T, C, H, W]`, as well.
        max_episodes: Take the first ones; None takes all.

    Yields:
        Episode by episode; no more than one is in memory.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is no npz, an array is missing, or the arrays do not fit each other.
    """
    file = Path(path)
    with open_npz(file) as archive:
        layout = "states" if "states" in archive.names else "observations"
        lengths = read_array(archive, "traj_lengths").astype(np.int64)
        needed = [layout, "actions", *(["images"] if pixels else [])]
        extra = [n for n in ("rewards", "terminals", "timeouts") if n in archive.names]
        rows = {name: RowReader(archive, name) for name in [*needed, *extra]}
        _check_rows(rows, lengths, layout, file)
        scales = {} if normalization is None else _scales(Path(normalization), rows, layout)
        for episode, length in enumerate(lengths[:max_episodes].tolist()):
            where = f"{file}: episode {episode}"
            arrays = {name: reader.take(length) for name, reader in rows.items()}
            for name, (low, span) in scales.items():
                values = as_floats(arrays[name], name, where)
                arrays[name] = ((values + 1) / 2 * span + low).astype(np.float32)
            last = {name: bool(np.ravel(arrays[name])[-1]) for name in extra if name != "rewards"}
            terminated = last.get("terminals", False)
            images = arrays.get("images")
            yield one_episode(
                where,
                observations=arrays[layout],
                actions=arrays["actions"],
                rewards=arrays.get("rewards"),
                terminated=terminated,
                truncated=not terminated,
                fps=fps,
                task=task,
                images=images,
            )


def is_official(names: set[str]) -> bool:
    """Whether an npz with arrays of these names is one."""
    return (
        "traj_lengths" in names and "actions" in names and bool(names & {"states", "observations"})
    )


def _check_rows(
    rows: dict[str, RowReader], lengths: Int64[np.ndarray, "..."], layout: str, file: Path
) -> None:
    frames = rows[layout].shape[0]
    if lengths.ndim != 1 or lengths.size == 0 or (lengths < 1).any() or lengths.sum() != frames:
        raise ValueError(
            f"{file}: traj_lengths has {lengths.size} entries that sum to {lengths.sum()}, "
            f"expected positive ones that sum to {frames}, the rows of {layout}"
        )
    for name, reader in rows.items():
        if reader.shape[0] != frames:
            raise ValueError(
                f"{file}: {name} has {reader.shape[0]} rows, expected {frames}, as many as {layout}"
            )


def _scales(
    file: Path, rows: dict[str, RowReader], layout: str
) -> dict[str, tuple[Float[np.ndarray, " D"], Float[np.ndarray, " D"]]]:
    """By array, least value and span: undoes `2 (x - min) / (max - min + 1e-6) - 1`."""
    scales = {}
    with open_npz(file) as archive:
        for name, kind in ((layout, "obs"), ("actions", "action")):
            low = read_array(archive, f"{kind}_min").astype(np.float64)
            high = read_array(archive, f"{kind}_max").astype(np.float64)
            width = rows[name].shape[1:]
            if width != low.shape or low.shape != high.shape:
                raise ValueError(
                    f"{file}: {kind}_min has shape {low.shape} and {kind}_max {high.shape}, "
                    f"expected {width}"
                )
            scales[name] = (low, high - low + _EPSILON)
    return scales
