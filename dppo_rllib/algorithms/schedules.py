"""Values that change with the training iteration. All are pure functions of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Schedule = float | Sequence[Sequence[float]]


@dataclass(frozen=True)
class CosineWarmup:
    """Linear warm-up from `min_lr`, then a cosine back to it, restarting.

    A function of the iteration and not an object that is stepped: nothing to checkpoint, and a
    changed `max_lr` (population-based training) takes effect at once.

    Attributes:
        max_lr: Learning rate after the warm-up.
        min_lr: Learning rate at the start of the warm-up and at the end of the cycle.
        warmup_steps: Iterations of warm-up.
        cycle_steps: Iterations of one cycle, warm-up included.
    """

    max_lr: float
    min_lr: float
    warmup_steps: int
    cycle_steps: int

    def __call__(self, iteration: int) -> float:
        """Learning rate in the given iteration (from 0)."""
        if iteration <= 0:
            return self.min_lr  # the authors' schedule starts there even without a warm-up
        step = iteration % self.cycle_steps
        span = self.max_lr - self.min_lr
        if step < self.warmup_steps:
            return self.min_lr + span * step / self.warmup_steps
        done = (step - self.warmup_steps) / (self.cycle_steps - self.warmup_steps)
        return self.min_lr + span * (1 + math.cos(math.pi * done)) / 2


def learning_rate(config: Any, network: str, iteration: int) -> float:
    """Rate of a network in an iteration, from the settings whose names begin with its own.

    The actor's schedules stand still while only the critic trains.
    """
    waited = 0 if network == "critic" else config.n_critic_warmup_itr
    schedule = CosineWarmup(
        max_lr=getattr(config, f"{network}_lr"),
        min_lr=getattr(config, f"{network}_min_lr"),
        warmup_steps=getattr(config, f"{network}_lr_warmup_steps"),
        cycle_steps=getattr(config, f"{network}_lr_cycle_steps"),
    )
    return schedule(max(0, iteration - waited))


def value_at(schedule: Schedule, iteration: int) -> float:
    """A constant, or the linear interpolation of `[[iteration, value], …]`."""
    if isinstance(schedule, (int, float)):
        return float(schedule)
    points = np.asarray(schedule, dtype=float)
    return float(np.interp(iteration, points[:, 0], points[:, 1]))


def step_value_at(schedule: Schedule, iteration: int) -> int:
    """A constant, or the last value of `[[iteration, value], …]` whose iteration is reached."""
    if isinstance(schedule, (int, float)):
        return int(schedule)
    reached = [value for start, value in schedule if start <= iteration]
    return int(reached[-1])


def check_schedule(name: str, schedule: Schedule) -> None:
    """Raises ValueError unless `schedule` is a number or `[[0, v], [i, v], …]` with rising i."""
    if isinstance(schedule, (int, float)):
        return
    expected = f"{name}={schedule}: expected a number or [[0, value], [iteration, value], …]"
    pairs = isinstance(schedule, Sequence) and all(
        isinstance(point, Sequence) and len(point) == 2 for point in schedule
    )
    if not pairs or not schedule:
        raise ValueError(expected)
    iterations = [point[0] for point in schedule]
    if iterations[0] != 0 or iterations != sorted(set(iterations)):
        raise ValueError(f"{expected} with iterations that start at 0 and rise")
