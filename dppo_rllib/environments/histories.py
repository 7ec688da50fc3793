"""What an environment has shown: histories for the policy, cut from a tape.

A tape holds the history at the start of a chunk, newest last, and then the observation of each
step of the chunk. A step that turns out to be broken is overwritten by what comes next.
"""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float32, Num, Shaped

from dppo_rllib.environments.observation_spaces import (
    RGB,
    STATE,
    channel_axis,
    channels_first,
    split_observation_space,
)


class StateHistory:
    """Histories `[To, Do]` of an environment without pictures.

    Args:
        space: Of one observation.
        cond_steps: `To`.
        act_steps: `Ta`, the longest chunk.
        owner: Name of the environment, for messages.

    Attributes:
        space: Of a history.
    """

    def __init__(self, space: gymnasium.spaces.Box, cond_steps: int, act_steps: int, owner: str):
        self.space = gymnasium.spaces.Box(-np.inf, np.inf, (cond_steps, *space.shape), np.float32)
        self._tape = np.zeros((cond_steps + act_steps, *space.shape), np.float32)
        # Its rows from the newest of the history on, as views.
        self._rows = list(self._tape[cond_steps - 1 :])
        self._ones = np.ones(space.shape, np.float32)
        self._length, self._owner = cond_steps, owner

    def write(self, step: int, obs: Num[np.ndarray, " Do"]) -> None:
        """Keeps a copy (some simulators reuse their array) that is known to be finite.

        Args:
            step: Of the chunk, counted from 1; 0 is the first observation of an episode.
            obs: What the environment returned.

        Raises:
            FloatingPointError: Numbers are not finite in float32.
        """
        cells = self._rows[step]
        cells[:] = obs
        # The sum is finite only if its terms are, and a product is the fastest way to it.
        if not math.isfinite(cells.dot(self._ones)):
            raise FloatingPointError(
                f"{self._owner}: observation {obs}, expected numbers that are finite in float32"
            )

    def start(self) -> Float32[np.ndarray, "To Do"]:
        """The first history of an episode: its first observation, repeated."""
        return _start(self._tape, self._length)

    def advance(self, steps: int) -> Float32[np.ndarray, "To Do"]:
        """The history after so many steps of the chunk."""
        return _advance(self._tape, self._length, steps)


class PictureHistory:
    """Histories `{"state": [To, Do], "rgb": [Ti, C, H, W]}` of an environment with pictures.

    Pictures stay bytes, and are put channels first as they are copied to the tape.

    Args:
        space: Of one observation, see `split_observation_space`.
        cond_steps: `To`.
        img_cond_steps: `Ti`.
        act_steps: `Ta`, the longest chunk.
        owner: Name of the environment, for messages.

    Attributes:
        space: Of a history.
    """

    def __init__(
        self,
        space: gymnasium.Space,
        cond_steps: int,
        img_cond_steps: int,
        act_steps: int,
        owner: str,
    ):
        state, rgb = split_observation_space(space)
        assert rgb is not None
        self._states = StateHistory(state, cond_steps, act_steps, owner)
        shape = channels_first(rgb.shape)
        self.space = gymnasium.spaces.Dict(
            {
                STATE: self._states.space,
                RGB: gymnasium.spaces.Box(0, 255, (img_cond_steps, *shape), np.uint8),
            }
        )
        self._tape = np.zeros((img_cond_steps + act_steps, *shape), np.uint8)
        # The same memory with the axes of the environment.
        channels_last = channel_axis(rgb.shape) == 2
        as_shown = self._tape.transpose(0, 2, 3, 1) if channels_last else self._tape
        self._rows = list(as_shown[img_cond_steps - 1 :])
        self._length, self._shape, self._owner = img_cond_steps, rgb.shape, owner

    def write(self, step: int, obs: dict[str, Shaped[np.ndarray, "..."]]) -> None:
        """Keeps a copy of the state and one of the picture; `step` as in `StateHistory`.

        Raises:
            FloatingPointError: Numbers of the state are not finite in float32.
            ValueError: The picture is not as the observation space says.
        """
        self._states.write(step, obs[STATE])
        rgb = obs[RGB]
        if rgb.dtype != np.uint8 or rgb.shape != self._shape:
            raise ValueError(
                f"{self._owner}: rgb is {rgb.dtype} of shape {rgb.shape}, expected uint8 of shape "
                f"{self._shape}, as its observation_space"
            )
        self._rows[step][:] = rgb

    def start(self) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The first histories of an episode: its first observation, repeated."""
        return {STATE: self._states.start(), RGB: _start(self._tape, self._length)}

    def advance(self, steps: int) -> dict[str, Shaped[np.ndarray, "..."]]:
        """The histories after so many steps of the chunk."""
        return {
            STATE: self._states.advance(steps),
            RGB: _advance(self._tape, self._length, steps),
        }


def history_of(
    env: gymnasium.Env, cond_steps: int, img_cond_steps: int, act_steps: int
) -> StateHistory | PictureHistory:
    """The histories that an environment's observations make.

    Raises:
        ValueError: Its observation space is not understood.
    """
    space, owner = env.observation_space, str(env)
    if isinstance(space, gymnasium.spaces.Dict):
        return PictureHistory(space, cond_steps, img_cond_steps, act_steps, owner)
    return StateHistory(split_observation_space(space)[0], cond_steps, act_steps, owner)


def _start(tape: Any, length: int) -> Any:
    history = tape[:length]
    history[:-1] = history[-1]
    return history.copy()


def _advance(tape: Any, length: int, steps: int) -> Any:
    history = tape[steps : steps + length].copy()
    tape[:length] = history
    return history
