"""What a runner answers with: its share of an iteration, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StepCount:
    """What RLlib's evaluation asks of a sample: how many steps it took."""

    steps: int

    def env_steps(self) -> int:
        """Environment steps."""
        return self.steps

    def agent_steps(self) -> int:
        """Agent steps; there is one agent."""
        return self.steps


@dataclass(frozen=True)
class RolloutFailure:
    """An environment or policy that raised, as a value: RLlib would only log the exception."""

    worker_index: int
    traceback: str


@dataclass(frozen=True)
class Rollout:
    """One runner's share of an iteration.

    Attributes:
        shards: One `Trajectories` per learner, as references where the runner is remote.
        metrics: The runner's reduced metrics.
    """

    shards: list[Any]
    metrics: Any
