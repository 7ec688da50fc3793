"""Which observation spaces are understood, and where a picture keeps its channels."""

from __future__ import annotations

from collections.abc import Sequence

import gymnasium
import numpy as np

STATE, RGB = "state", "rgb"


def split_observation_space(
    space: gymnasium.Space,
) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box | None]:
    """The spaces of the state and of the picture; None without pictures.

    Understood are `Box(Do)` and `Dict(state=Box(Do), rgb=Box(H, W, C))`, whose picture is uint8
    and may lie channels first as well, see `channel_axis`.

    Raises:
        ValueError: The space is another one.
    """
    if isinstance(space, gymnasium.spaces.Dict):
        if set(space.keys()) != {STATE, RGB}:
            raise ValueError(
                f"observation_space={space}: keys {sorted(space.keys())}, expected a Box of one "
                "dimension, or a Dict of exactly 'state' (a Box of one dimension) and 'rgb' (a "
                "picture); gymnasium.wrappers.TransformObservation makes the one of the other"
            )
        state, rgb = space[STATE], space[RGB]
        if not isinstance(state, gymnasium.spaces.Box) or len(state.shape) != 1:
            raise ValueError(
                f"observation_space['state']={state}: expected a Box of one dimension; "
                "gymnasium.wrappers.TransformObservation can flatten it"
            )
        if not isinstance(rgb, gymnasium.spaces.Box) or rgb.dtype != np.uint8:
            raise ValueError(f"observation_space['rgb']={rgb}: expected a Box of uint8")
        try:
            channel_axis(rgb.shape)
        except ValueError as error:
            raise ValueError(f"observation_space['rgb']: {error}") from None
        return state, rgb
    if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
        raise ValueError(
            f"observation_space={space}: expected a Box of one dimension, or a Dict of 'state' (a "
            "Box of one dimension) and 'rgb' (a picture); gymnasium.wrappers.AddRenderObservation("
            "env, render_only=False, render_key='rgb', obs_key='state') adds rendered pictures"
        )
    return space, None


def channel_axis(shape: Sequence[int]) -> int:
    """Where a picture of this shape has its channels: 0 for `(C, H, W)`, 2 for `(H, W, C)`.

    Channels are the first or the last axis, 1 or a multiple of 3 (all cameras), and fewer than
    rows and columns: at most one of the two can be.

    Raises:
        ValueError: Neither is.
    """
    if len(shape) == 3:
        for axis, height, width in ((0, 1, 2), (2, 0, 1)):
            channels = shape[axis]
            if 0 < channels < min(shape[height], shape[width]) and (
                channels == 1 or channels % 3 == 0
            ):
                return axis
    raise ValueError(
        f"shape {tuple(shape)}: expected a picture (C, H, W) or (H, W, C), with 1 channel or a "
        "multiple of 3, fewer than rows and than columns"
    )


def channels_first(shape: Sequence[int]) -> tuple[int, int, int]:
    """`(C, H, W)` of a picture of this shape.

    Raises:
        ValueError: It is none, see `channel_axis`.
    """
    first, second, third = shape if channel_axis(shape) == 0 else (shape[2], shape[0], shape[1])
    return first, second, third
