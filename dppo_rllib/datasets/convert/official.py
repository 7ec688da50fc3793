"""The authors' `train.npz`, and the D4RL-like npz with `timeouts`."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Shaped

from dppo_rllib.datasets.demonstrations import Demonstrations


def read_official_npz(
    path: str | Path,
    *,
    fps: float | int,
    task: str = "",
    normalization_path: str | Path | None = None,
) -> Demonstrations:
    """Read an npz of flat arrays as Demonstrations.

    Two layouts: `states, actions, rewards, terminals, traj_lengths` (official), and
    `observations, actions, rewards, terminals, timeouts, traj_lengths`. Rewards and ends may be
    missing (rewards are 0 then); other arrays are left alone. Where only the last frame of an
    episode is neither terminal nor a time limit, the episode was cut: it is truncated.

    Args:
        path: The npz.
        fps: Environment steps per second, which the file does not say.
        task: What is done, in words; neither does it say that.
        normalization_path: The authors' `train.npz` is normalised to [-1, 1]; their
            `normalization.npz` beside it turns it back, up to rounding. None takes values as
            they are.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is no npz, an array is missing, or the arrays do not fit each other.
    """
    file = Path(path)
    arrays = _load(file)
    layout = "states" if "states" in arrays else "observations"
    for name in (layout, "actions", "traj_lengths"):
        _require(arrays, name, file)
    observations, actions = _floats(arrays, layout, file), _floats(arrays, "actions", file)
    if normalization_path is not None:
        limits = Path(normalization_path)
        observations = _denormalize(observations, limits, "obs")
        actions = _denormalize(actions, limits, "action")
    frames, lengths = len(observations), arrays["traj_lengths"].astype(np.int64)
    if lengths.ndim != 1 or lengths.size == 0 or (lengths < 1).any() or lengths.sum() != frames:
        raise ValueError(
            f"{file}: traj_lengths has {lengths.size} entries that sum to {lengths.sum()}, "
            f"expected positive ones that sum to {frames}, the rows of {layout}"
        )
    for name in ("actions", "rewards", "terminals", "timeouts"):
        if name in arrays and len(arrays[name]) != frames:
            raise ValueError(
                f"{file}: {name} has {len(arrays[name])} rows, expected {frames}, "
                f"as many as {layout}"
            )
    last = np.zeros(frames, dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    none = np.zeros(frames, dtype=bool)
    terminated = arrays.get("terminals", none).reshape(frames).astype(bool) & last
    timeouts = arrays.get("timeouts", none).reshape(frames).astype(bool) & last
    rewards = _floats(arrays, "rewards", file) if "rewards" in arrays else none.astype(np.float32)
    demonstrations = Demonstrations(
        observations=observations,
        actions=actions,
        rewards=rewards.reshape(frames),
        terminated=terminated,
        truncated=timeouts | (last & ~terminated),
        episode_lengths=lengths,
        fps=fps,
        task=task,
    )
    try:
        demonstrations.validate()
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return demonstrations


def _load(file: Path) -> dict[str, np.ndarray]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, expected an npz of demonstrations")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            # Images are large and are not read.
            return {name: arrays[name] for name in arrays.files if name != "images"}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise ValueError(f"{file}: is no readable npz of plain arrays ({error})") from error


def _require(arrays: dict[str, np.ndarray], name: str, file: Path) -> np.ndarray:
    if name not in arrays:
        raise ValueError(f"{file}: has no array {name!r}, only: {', '.join(sorted(arrays))}")
    return arrays[name]


def _floats(arrays: dict[str, np.ndarray], name: str, file: Path) -> Shaped[np.ndarray, "..."]:
    try:
        return arrays[name].astype(np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {name} is {arrays[name].dtype}, expected numbers") from error


def _denormalize(
    values: Shaped[np.ndarray, "..."], file: Path, kind: str
) -> Float32[np.ndarray, "..."]:
    """Undo the authors' `2 (x - min) / (max - min + 1e-6) - 1`, which they use for both kinds."""
    arrays = _load(file)
    low = _require(arrays, f"{kind}_min", file).astype(np.float64)
    high = _require(arrays, f"{kind}_max", file).astype(np.float64)
    if values.shape[-1:] != low.shape or low.shape != high.shape:
        raise ValueError(
            f"{file}: {kind}_min has shape {low.shape} and {kind}_max {high.shape}, "
            f"expected {values.shape[-1:]}"
        )
    return ((values + 1) / 2 * (high - low + 1e-6) + low).astype(np.float32)
