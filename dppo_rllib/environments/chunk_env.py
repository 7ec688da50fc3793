"""One environment that is stepped a chunk of actions at a time."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float, Float32, Shaped

from dppo_rllib.environments.histories import history_of

logger = logging.getLogger(__name__)

# After so many failures in a row the exception is raised: without a valid step in between, and
# of episodes one after the other.
_MAX_FAILURES = 3
_MAX_FAILED_EPISODES = 10
_LARGEST = float(np.finfo(np.float32).max)
# Pictures a second; simulators that step faster are rendered less often.
_MAX_RENDER_FPS = 30

# With pictures: `{"state": [To, Do], "rgb": [Ti, C, H, W]}`.
History = Float32[np.ndarray, "To Do"] | dict[str, Shaped[np.ndarray, "..."]]


def filmed(metadata: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """Of how many steps one is filmed, and the metadata that say so.

    Args:
        metadata: The environment's; its `render_fps` are steps of a simulated second.
    """
    fps = metadata.get("render_fps") or _MAX_RENDER_FPS
    interval = math.ceil(fps / _MAX_RENDER_FPS)
    return interval, {**metadata, "render_fps": fps / interval}


class ChunkEnv(gymnasium.Env):
    """Executes up to `act_steps` actions per step and stacks the last `cond_steps` observations.

    The chunk stops where the episode ends. A simulator that raises or returns what is not finite
    in float32 ends the episode as truncated: the broken step does not count, and the environment
    is built anew for the next episode. A reset that fails is repeated with a new environment. One
    that fails three times without a valid step in between, or in ten episodes in a row, raises its
    own exception.

    Args:
        make: Builds the environment.
        act_steps: `Ta`.
        cond_steps: `To`.
        img_cond_steps: `Ti`, pictures in a history.
    """

    observation_space: gymnasium.spaces.Box | gymnasium.spaces.Dict
    action_space: gymnasium.spaces.Box

    def __init__(
        self,
        make: Callable[[], gymnasium.Env],
        act_steps: int,
        cond_steps: int,
        img_cond_steps: int = 1,
    ):
        self._make = make
        self._env = make()
        self.spec = self._env.spec
        self._history = history_of(self._env, cond_steps, img_cond_steps, act_steps)
        self.observation_space = self._history.space
        action = self._env.action_space
        assert isinstance(action, gymnasium.spaces.Box)
        low, high = np.tile(action.low, (act_steps, 1)), np.tile(action.high, (act_steps, 1))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=action.low.dtype.type)
        self.render_mode = self._env.render_mode
        # A copy: vector environments write to it, and it often belongs to a class.
        self._frame_interval, self.metadata = filmed(self._env.metadata)
        self.frames: list[np.ndarray] = []
        self._filmed = 0
        self._seeds: np.random.SeedSequence | None = None
        self._failures = self._failed_episodes = 0
        self._broken = self._warned = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[History, dict[str, Any]]:
        """Starts an episode; its history is filled with the first observation."""
        if seed is not None:
            self._seeds = np.random.SeedSequence(seed)
        if not self._broken:
            self._failed_episodes = 0
        # Ends: `_fail` raises when it is called too often.
        while True:
            if self._broken:
                rebuilt_seed = self._rebuild()
                seed = rebuilt_seed if seed is None else seed
            try:
                obs, _ = self._env.reset(seed=seed, options=options)
                self._history.write(0, obs)
                break
            except Exception as error:
                self._fail(error)
                # The same seed would lead to the same failure.
                seed = None
        return self._history.start(), {}

    def step(
        self, action: Float[np.ndarray, "Ta Da"]
    ) -> tuple[History, float, bool, bool, dict[str, Any]]:
        """Executes a chunk.

        Returns:
            History, sum of rewards, terminated, truncated, and in `info["outcome"]` the tuple
            (steps executed, invalid, success, success was told).
        """
        total, executed = 0.0, 0
        terminated = truncated = invalid = success = has_success = False
        env, capture = self._env, self.render_mode == "rgb_array"
        write = self._history.write
        for step, single in enumerate(action, start=1):
            try:
                obs, reward, terminated, truncated, info = env.step(single)
                write(step, obs)
                new_total = total + float(reward)
                # Also false for NaN.
                if not abs(new_total) <= _LARGEST:
                    raise FloatingPointError(
                        f"{env}: reward {reward} after {total} in this chunk, expected a sum that "
                        "is finite in float32"
                    )
            except Exception as error:
                self._failed_episodes += 1
                self._fail(error)
                terminated, truncated, invalid = False, True, True
                break
            self._failures = 0
            total, executed = new_total, executed + 1
            for key in ("success", "is_success"):
                if key in info:
                    has_success, success = True, success or bool(info[key])
            if capture:
                if self._filmed % self._frame_interval == 0:
                    self.frames.append(np.asarray(env.render()))
                self._filmed += 1
            if terminated or truncated:
                break
        info = {"outcome": (executed, invalid, success, has_success)}
        return self._history.advance(executed), total, terminated, truncated, info

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def render(self) -> Any:
        """The environment's own picture."""
        return self._env.render()

    def _fail(self, error: Exception) -> None:
        self._broken = True
        self._failures += 1
        if self._failures >= _MAX_FAILURES or self._failed_episodes >= _MAX_FAILED_EPISODES:
            raise error
        if not self._warned:
            self._warned = True
            logger.warning(
                "A simulator failed; its episode is cut (told once per environment)",
                exc_info=error,
            )

    def _rebuild(self) -> int | None:
        """Replaces the environment; returns a seed, so that seeded runs stay reproducible."""
        with contextlib.suppress(Exception):
            self._env.close()
        self._env = self._make()
        self._broken = False
        if self._seeds is None:
            return None
        return int(self._seeds.spawn(1)[0].generate_state(1)[0])
