"""An episode of another format as Demonstrations; what is wrong with it is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.environments.observation_spaces import channel_axis


def one_episode(
    where: str,
    *,
    observations: Shaped[np.ndarray, "T *D"],
    actions: Shaped[np.ndarray, "T *A"],
    rewards: Shaped[np.ndarray, "T *one"] | None,
    terminated: bool,
    truncated: bool,
    fps: float | int,
    task: str,
    success: Bool[np.ndarray, " T"] | None = None,
    images: UInt8[np.ndarray, "T C H W"] | None = None,
    camera_names: tuple[str, ...] | None = None,
) -> Demonstrations:
    """A single episode, checked.

    Args:
        where: File and episode, for messages.
        observations: Before each action; numbers of any kind.
        actions: Numbers with a fraction; `[T]` is a single dimension.
        rewards: None for zeros.
        terminated: Whether it has ended.
        truncated: Whether it was cut.
        fps: Environment steps per second.
        task: What is done, in words.
        success: As in `Demonstrations`.
        images: As in `Demonstrations`.
        camera_names: As in `Demonstrations`.

    Raises:
        ValueError: What it has is no episode.
    """
    steps = len(actions)
    if actions.ndim == 1 and np.issubdtype(actions.dtype, np.integer):
        raise ValueError(f"{where}: actions are whole numbers, expected continuous ones, [T, Da]")
    if rewards is None:
        rewards = np.zeros(steps, np.float32)
    for name, values in (("observations", observations), ("rewards", rewards), ("images", images)):
        if values is not None and len(values) != steps:
            raise ValueError(
                f"{where}: {name} has {len(values)} rows, expected {steps}, as many as actions"
            )
    if not steps:
        raise ValueError(f"{where}: has no steps, expected at least one")
    last = np.zeros(steps, bool)
    last[-1] = True
    demonstrations = Demonstrations(
        observations=as_floats(observations, "observations", where),
        actions=as_floats(actions[:, None] if actions.ndim == 1 else actions, "actions", where),
        rewards=as_floats(rewards, "rewards", where).reshape(steps),
        terminated=last & terminated,
        truncated=last & (truncated and not terminated),
        episode_lengths=np.array([steps], np.int64),
        fps=fps,
        task=task,
        success=success,
        images=images,
        camera_names=camera_names,
    )
    try:
        demonstrations.validate()
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return demonstrations


def as_floats(values: Shaped[np.ndarray, "..."], name: str, where: str) -> np.ndarray:
    """As float32.

    Raises:
        ValueError: They are no numbers.
    """
    if values.dtype.kind not in "biuf":
        raise ValueError(f"{where}: {name} is {values.dtype}, expected numbers")
    return values.astype(np.float32, copy=False)


def joined_observations(
    parts: Mapping[str, Shaped[np.ndarray, "T ..."]], where: str
) -> dict[str, Any]:
    """Arrays of several names as states and pictures, in their order.

    Bytes with three axes a step are pictures, `[T, H, W, C]` or `[T, C, H, W]`, of a camera of
    that name; everything else is flattened into the state.

    Returns:
        `observations`, `images` and `camera_names` of `one_episode`.

    Raises:
        ValueError: There are pictures alone, or of different sizes.
    """
    pictures = {n: p for n, p in parts.items() if p.dtype == np.uint8 and p.ndim == 4}
    states = [p.reshape(len(p), -1) for n, p in parts.items() if n not in pictures]
    if not states:
        raise ValueError(
            f"{where}: observations are pictures alone ({', '.join(pictures)}), expected numbers "
            "beside them"
        )
    found: dict[str, Any] = {
        "observations": np.concatenate(states, axis=-1),
        "images": None,
        "camera_names": None,
    }
    if pictures:
        first = {name: _channels_first(p, f"{where}: {name}") for name, p in pictures.items()}
        if len({p.shape[1:] for p in first.values()}) > 1:
            shapes = {name: p.shape[1:] for name, p in first.items()}
            raise ValueError(f"{where}: pictures (C, H, W) are {shapes}, expected one size")
        found["images"] = np.concatenate(list(first.values()), axis=1)
        found["camera_names"] = tuple(name.replace("/", "_") for name in first)
    return found


def _channels_first(pictures: UInt8[np.ndarray, "T ..."], name: str) -> UInt8[np.ndarray, "T ..."]:
    try:
        axis = channel_axis(pictures.shape[1:])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return np.moveaxis(pictures, axis + 1, 1)
