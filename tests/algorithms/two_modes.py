"""A small task for learning tests: reach one of two targets, only one of which pays well.

The demonstrations go left and right equally often. The best policy goes right; a Gaussian fitted
to the demonstrations goes to the middle, where there is nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import gymnasium
import numpy as np

from dppo_rllib.datasets import Demonstrations

EPISODE_STEPS = 4
LEFT_REWARD, RIGHT_REWARD = 0.2, 1.0


class TwoModes(gymnasium.Env):
    """A point on a line, moved by the action; the reward is at -1 (poor) and at +1 (rich)."""

    observation_space = gymnasium.spaces.Box(-2, 2, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._position = 0.0
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self._position = float(np.clip(self._position + 0.5 * float(action[0]), -2, 2))
        self._steps += 1
        reward = LEFT_REWARD * np.exp(-8 * (self._position + 1) ** 2)
        reward += RIGHT_REWARD * np.exp(-8 * (self._position - 1) ** 2)
        truncated = self._steps >= EPISODE_STEPS
        success = {"success": self._position > 0.7}
        return np.array([self._position], np.float32), float(reward), False, truncated, success


class Broken(TwoModes):
    """Fails in every step."""

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        raise RuntimeError("the gripper fell off")


def demonstrations(episodes: int, seed: int = 0) -> Demonstrations:
    """Walks to either side."""
    rng = np.random.default_rng(seed)
    observations, actions = [], []
    for _ in range(episodes):
        side, position = rng.choice([-1.0, 1.0]), 0.0
        for step in range(EPISODE_STEPS):
            wanted = side if step < 2 else 0.0
            action = float(np.clip(wanted * 0.95 + 0.05 * rng.standard_normal(), -1, 1))
            observations.append([position])
            actions.append([action])
            position += 0.5 * action
    ends = np.zeros(len(actions), bool)
    ends[EPISODE_STEPS - 1 :: EPISODE_STEPS] = True
    return Demonstrations(
        observations=np.array(observations, np.float32),
        actions=np.array(actions, np.float32),
        rewards=np.zeros(len(actions), np.float32),
        terminated=np.zeros(len(actions), bool),
        truncated=ends,
        episode_lengths=np.full(episodes, EPISODE_STEPS, np.int64),
        fps=10.0,
        task="two modes",
    )


class ShownMode(gymnasium.Env):
    """Only one side is rewarded, and only the picture shows which."""

    observation_space = gymnasium.spaces.Dict(
        state=gymnasium.spaces.Box(-2, 2, (1,), np.float32),
        rgb=gymnasium.spaces.Box(0, 255, (3, 16, 16), np.uint8),
    )
    action_space = TwoModes.action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._right = bool(self.np_random.integers(2))
        self._position, self._steps = 0.0, 0
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self._position = float(np.clip(self._position + 0.5 * float(action[0]), -2, 2))
        self._steps += 1
        distance = abs(self._position - (1 if self._right else -1))
        truncated = self._steps >= EPISODE_STEPS
        success = {"success": distance < 0.3}
        return self._observe(), float(np.exp(-8 * distance**2)), False, truncated, success

    def _observe(self) -> dict[str, np.ndarray]:
        return {
            "state": np.array([self._position], np.float32),
            "rgb": picture(self._right),
        }


def picture(right: bool) -> np.ndarray:
    """One half is green."""
    pixels = np.zeros((3, 16, 16), np.uint8)
    pixels[1, :, 8 * right : 8 * right + 8] = 200
    return pixels


def shown_demonstrations(episodes: int, seed: int = 0) -> Demonstrations:
    """Walks to either side, whatever the picture shows."""
    rights = np.random.default_rng(seed).integers(2, size=episodes).astype(bool)
    images = np.array([picture(bool(right)) for right in rights.repeat(EPISODE_STEPS)])
    return dataclasses.replace(demonstrations(episodes, seed), images=images)
