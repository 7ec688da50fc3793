"""Rewards divided by the running deviation of their discounted sums."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

_EPSILON = 1e-8
_INITIAL_COUNT = 1e-4  # weight of the unit variance that the running moments start from


@dataclass
class RunningRewardScaler:
    """Scales rewards as PPO implementations do: one variance over all environments.

    The discounted sum `R ← r + gamma·R·(1 - first)` of each environment goes on across
    iterations; its variance is a running one, updated before it is used. The variance is the
    authors' (parallel moments divided by count - 1).

    Attributes:
        gamma: Discount of the sums.
        clip: Bound on scaled rewards.
        mean: Running mean of the sums.
        variance: Running variance.
        count: Number of sums seen.
        sums: The sum of each environment by its id.
    """

    gamma: float
    clip: float = 10.0
    mean: float = 0.0
    variance: float = 1.0
    count: float = _INITIAL_COUNT
    sums: dict[int, float] = field(default_factory=dict)

    def __call__(
        self,
        reward: Float[np.ndarray, "T N"],
        is_first: Bool[np.ndarray, "T N"],
        env_ids: Int[np.ndarray, " N"],
    ) -> Float[np.ndarray, "T N"]:
        """Takes an iteration's rewards in, and returns them scaled."""
        total = np.array([self.sums.get(int(i), 0.0) for i in env_ids])
        sums = np.empty(reward.shape, dtype=np.float64)
        for t in range(len(reward)):
            total = sums[t] = reward[t] + self.gamma * total * ~is_first[t]
        self.sums |= dict(zip(env_ids.tolist(), total.tolist(), strict=True))
        self._update(sums)
        return np.clip(reward * self.scale, -self.clip, self.clip)

    @property
    def scale(self) -> float:
        """The present factor on rewards."""
        return float(1 / np.sqrt(self.variance + _EPSILON))

    def _update(self, batch: Float[np.ndarray, "T N"]) -> None:
        total = self.count + batch.size
        delta = batch.mean() - self.mean
        squares = self.variance * self.count + batch.var() * batch.size
        squares += delta**2 * self.count * batch.size / total
        self.mean += float(delta) * batch.size / total
        self.variance, self.count = float(squares / (total - 1)), total

    def get_state(self) -> dict[str, Any]:
        """The running moments and sums."""
        moments = {"mean": self.mean, "variance": self.variance, "count": self.count}
        return moments | {"sums": dict(self.sums)}

    def set_state(self, state: dict[str, Any]) -> None:
        """Inverse of `get_state`."""
        self.mean, self.variance = float(state["mean"]), float(state["variance"])
        self.count = float(state["count"])
        self.sums = {int(k): float(v) for k, v in state["sums"].items()}
