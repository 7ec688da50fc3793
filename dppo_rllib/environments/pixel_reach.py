"""A picture environment of a few microseconds a step, to try vision policies on.

A point in a square is to reach a target that only the picture shows; the state is the point's own
position. `reach_expert` finds the target in the picture and goes there, with as much noise as
demonstrations shall have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from dppo_rllib.environments.observation_spaces import RGB, STATE

ENV_ID = "dppo_rllib/PixelReach-v0"
MAX_EPISODE_STEPS = 25
# The square is [-1, 1] x [-1, 1]: an action of 1 moves by a tenth of its side.
STEP_SIZE = 0.2
TOLERANCE = 0.12

_POINT, _TARGET = 0, 1  # channels: the point is red, the target green
_RENDER_SIZE = 192


class PixelReach(gymnasium.Env):
    """Move a point to the target in the picture.

    - Observation: `{"state": [2] float32, the point's position; "rgb": [3 * cameras, S, S] uint8}`.
      The first camera sees the whole square. The second one travels with the point, which is its
      middle, and sees one side's length around it.
    - Action: `[2]` in [-1, 1], the way to go in units of `STEP_SIZE`; walls stop the point.
    - Reward 1, termination and `info["success"]` once the point is within `TOLERANCE` of the
      target; 0 until then. (The registered id cuts episodes after `MAX_EPISODE_STEPS`.)

    Args:
        image_size: `S`.
        cameras: 1 or 2.
        render_mode: None or "rgb_array".

    Raises:
        ValueError: An argument is out of its range.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(self, image_size: int = 24, cameras: int = 1, render_mode: str | None = None):
        if image_size < 8:
            raise ValueError(f"image_size={image_size}: expected at least 8")
        if cameras not in (1, 2):
            raise ValueError(f"cameras={cameras}: expected 1 or 2")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r}: expected None or 'rgb_array'")
        self.render_mode = render_mode
        shape = (3 * cameras, image_size, image_size)
        self.observation_space = gymnasium.spaces.Dict(
            {
                STATE: gymnasium.spaces.Box(-1, 1, (2,), np.float32),
                RGB: gymnasium.spaces.Box(0, 255, shape, np.uint8),
            }
        )
        self.action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        self._picture = np.zeros(shape, np.uint8)
        self._pixels = np.arange(image_size) + 0.5
        self._margin, self._scale = _geometry(image_size)
        self._x = self._y = self._target_x = self._target_y = 0.0
        if cameras == 2:
            self._draw(3 + _POINT, 0.0, 0.0)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Shaped[np.ndarray, "..."]], dict[str, Any]]:
        """Draws point and target anew, anywhere in the square."""
        super().reset(seed=seed)
        places = self.np_random.uniform(-1, 1, 4).tolist()
        self._x, self._y, self._target_x, self._target_y = places
        self._draw(_TARGET, self._target_x, self._target_y)
        return self._observe(), {}

    def step(
        self, action: Float[np.ndarray, "2"]
    ) -> tuple[dict[str, Shaped[np.ndarray, "..."]], float, bool, bool, dict[str, Any]]:
        """Moves the point."""
        right, up = action.tolist()
        self._x = min(max(self._x + STEP_SIZE * right, -1.0), 1.0)
        self._y = min(max(self._y + STEP_SIZE * up, -1.0), 1.0)
        away = (self._x - self._target_x) ** 2 + (self._y - self._target_y) ** 2
        success = away < TOLERANCE**2
        return self._observe(), float(success), success, False, {"success": success}

    def render(self) -> Any:
        """The first camera's picture, enlarged."""
        if self.render_mode is None:
            return None
        factor = -(-_RENDER_SIZE // len(self._pixels))
        return self._picture[:3].repeat(factor, 1).repeat(factor, 2).transpose(1, 2, 0).copy()

    def _observe(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        self._draw(_POINT, self._x, self._y)
        if len(self._picture) == 6:
            self._draw(3 + _TARGET, self._target_x - self._x, self._target_y - self._y)
        return {STATE: np.array((self._x, self._y), np.float32), RGB: self._picture.copy()}

    def _draw(self, channel: int, x: float, y: float) -> None:
        """A square marker, as bright in each pixel as it covers of it: its centre can be read."""
        columns = self._covered(x)
        rows = self._covered(-y) * 255
        np.multiply(rows[:, None], columns, out=self._picture[channel], casting="unsafe")

    def _covered(self, place: float) -> Float[np.ndarray, " S"]:
        centre = self._margin + (place + 1) * self._scale
        share = (self._margin + 0.5) - np.abs(self._pixels - centre)
        return np.minimum(np.maximum(share, 0.0, out=share), 1.0, out=share)


def reach_expert(
    noise: float = 0.3,
) -> Callable[[dict[str, Any], np.random.Generator], Float32[np.ndarray, "N 2"]]:
    """A controller for `PixelReach` that sees what a policy sees.

    Args:
        noise: Standard deviation of what is added to its actions.

    Returns:
        A function of observations (`{"state": [N, 2], "rgb": [N, C, H, W]}`) and a generator that
        gives actions `[N, 2]`, in [-1, 1].

    Raises:
        ValueError: The noise is negative.
    """
    if noise < 0:
        raise ValueError(f"noise={noise}: expected at least 0")

    def act(observations: dict[str, Any], rng: np.random.Generator) -> Float32[np.ndarray, "N 2"]:
        away = _seen_target(observations[RGB]) - observations[STATE]
        actions = np.clip(away / STEP_SIZE, -1, 1) + noise * rng.standard_normal(away.shape)
        return actions.clip(-1, 1).astype(np.float32)

    return act


def _seen_target(pictures: UInt8[np.ndarray, "N C S S"]) -> Float[np.ndarray, "N 2"]:
    """Where the target is: the centre of mass of its channel."""
    mass = pictures[:, _TARGET].astype(np.float64)
    pixels = np.arange(mass.shape[-1]) + 0.5
    margin, scale = _geometry(mass.shape[-1])
    total = mass.sum((1, 2))
    column, row = mass.sum(1) @ pixels / total, mass.sum(2) @ pixels / total
    return np.stack([(column - margin) / scale - 1, 1 - (row - margin) / scale], axis=1)


def _geometry(image_size: int) -> tuple[float, float]:
    """Half a marker, which is the margin in pixels, and pixels per unit of length."""
    margin = image_size / 12
    return margin, image_size / 2 - margin


gymnasium.register(
    ENV_ID, entry_point=f"{__name__}:PixelReach", max_episode_steps=MAX_EPISODE_STEPS
)
