"""One environment that is stepped a chunk of actions at a time."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from jaxtyping import Float, Float32

# Episodes in a row that may end before their first valid step.
_MAX_FAILURES = 3


class ChunkEnv(gymnasium.Env):
    """Executes up to `act_steps` actions per step and stacks the last `cond_steps` observations.

    The chunk stops where the episode ends. A simulator that raises or returns NaN or infinity ends
    the episode as truncated: the broken step does not count, and `info["invalid"]` says so; the
    environment is then built anew. One that fails three times without a valid step in between
    raises its own exception.

    Args:
        make: Builds the environment.
        act_steps: `Ta`.
        cond_steps: `To`.
    """

    def __init__(self, make: Callable[[], gymnasium.Env], act_steps: int, cond_steps: int):
        self._make = make
        self._env = make()
        self.spec = self._env.spec
        obs, action = self._env.observation_space, self._env.action_space
        assert isinstance(obs, gymnasium.spaces.Box) and isinstance(action, gymnasium.spaces.Box)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (cond_steps, *obs.shape), np.float32
        )
        low, high = np.tile(action.low, (act_steps, 1)), np.tile(action.high, (act_steps, 1))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=np.float32)
        self.render_mode = self._env.render_mode
        self.metadata = self._env.metadata
        self.frames: list[np.ndarray] = []
        self._history: deque[np.ndarray] = deque(maxlen=cond_steps)
        self._failures = 0
        self._broken = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "To Do"], dict[str, Any]]:
        """Starts an episode; its history is filled with the first observation."""
        if self._broken:
            self._env.close()
            self._env = self._make()
            self._broken = False
        obs, _ = self._env.reset(seed=seed, options=options)
        if not math.isfinite(float(np.sum(obs))):
            raise ValueError(f"{self._env}: reset() returned an observation that is not finite")
        self._history.extend([obs] * self._history.maxlen)  # type: ignore[operator]
        self._capture()
        return self._stacked(), {}

    def step(
        self, action: Float[np.ndarray, "Ta Da"]
    ) -> tuple[Float32[np.ndarray, "To Do"], float, bool, bool, dict[str, Any]]:
        """Executes a chunk.

        Returns:
            History, sum of rewards, terminated, truncated, and `env_steps`, `invalid`, `success`,
            `has_success`.
        """
        total, executed = 0.0, 0
        terminated = truncated = invalid = success = has_success = False
        for single in action:
            try:
                obs, reward, terminated, truncated, info = self._env.step(single)
                invalid = not math.isfinite(float(np.sum(obs)) + float(reward))
                if invalid and self._failures + 1 >= _MAX_FAILURES:
                    raise FloatingPointError(
                        f"{self._env}: {_MAX_FAILURES} episodes in a row gave no finite step"
                    )
            except Exception:
                if self._failures + 1 >= _MAX_FAILURES:
                    raise
                invalid = True
            if invalid:
                self._failures += 1
                terminated, truncated, self._broken = False, True, True
                break
            self._failures = 0
            self._history.append(obs)
            total += float(reward)
            executed += 1
            for key in ("success", "is_success"):
                if key in info:
                    has_success, success = True, success or bool(info[key])
            self._capture()
            if terminated or truncated:
                break
        info = {
            "env_steps": executed,
            "invalid": invalid,
            "success": success,
            "has_success": has_success,
        }
        return self._stacked(), total, terminated, truncated, info

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()

    def render(self) -> Any:
        """The environment's own picture."""
        return self._env.render()

    def _stacked(self) -> Float32[np.ndarray, "To Do"]:
        return np.stack(self._history).astype(np.float32)

    def _capture(self) -> None:
        if self.render_mode == "rgb_array":
            self.frames.append(np.asarray(self._env.render()))
