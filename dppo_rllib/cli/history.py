"""What a run reports, iteration by iteration, in a few columns that have names."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Column -> where RLlib reports it.
FINETUNE_COLUMNS: Mapping[str, str] = {
    "iteration": "training_iteration",
    "env_steps": "env_runners/num_env_steps_sampled_lifetime",
    "return_mean": "env_runners/episode_return_mean",
    "episode_length_mean": "env_runners/episode_len_mean",
    "success_rate": "env_runners/success_rate",
    "clip_fraction": "learners/default_policy/clip_fraction",
    "kl": "learners/default_policy/mean_kl_loss",
    "value_explained_variance": "learners/default_policy/vf_explained_var",
    "value_loss": "learners/default_policy/vf_loss",
    "actor_lr": "learners/default_policy/actor_lr",
    "invalid_episodes": "env_runners/num_invalid_episodes",
    "lost_rollouts": "num_lost_rollouts",
    "lost_iterations": "num_lost_iterations",
    "seconds_iteration": "time_this_iter_s",
    "seconds_total": "time_total_s",
}
PRETRAIN_COLUMNS: Mapping[str, str] = {
    "iteration": "training_iteration",
    "train_loss": "learners/default_policy/train_loss",
    "validation_loss": "learners/default_policy/validation_loss",
    "lr": "learners/default_policy/lr",
    "samples_per_second": "learners/default_policy/samples_per_second",
    "seconds_iteration": "time_this_iter_s",
    "seconds_total": "time_total_s",
}
# Counters that should stay at zero -> what to say of each iteration in which they have grown.
TROUBLES: Mapping[str, str] = {
    "invalid_episodes": "episodes were cut because their simulator failed",
    "lost_rollouts": "rollouts are missing: their environment runners have died and restart",
    "lost_iterations": "iterations were sampled anew because their trajectories were lost",
}
# RLlib's own timers are moving averages with a weight of 0.01, which show the first iteration for
# ever; the learner's are of one iteration each.
_UPDATE_SECONDS = tuple(
    f"learners/default_policy/seconds_{part}" for part in ("transfer", "preparation", "update")
)
_DERIVED = ("seconds_update", "seconds_sampling", "env_steps_per_second")


class History:
    """The rows of a run, kept in a CSV file; a resumed run goes on where it was.

    Args:
        path: The file.
        columns: Column names, and the path of each in RLlib's results.
    """

    def __init__(self, path: Path, columns: Mapping[str, str]):
        self.path = path
        self.columns = columns
        self.rows: list[dict[str, float]] = []
        if path.is_file():
            with path.open(newline="") as file:
                self.rows = [
                    {k: float(v) for k, v in row.items() if v} for row in csv.DictReader(file)
                ]

    def add(self, result: Mapping[str, Any]) -> dict[str, float]:
        """Appends a result, and drops rows that a resumed run has done anew."""
        row = {}
        for column, where in self.columns.items():
            value = _lookup(result, where)
            if value is not None:
                row[column] = float(value)
        earlier = [r for r in self.rows if r["iteration"] < row["iteration"]]
        if row.get("seconds_iteration") and "env_steps" in row:
            row |= _derived(row, earlier[-1] if earlier else {}, result)
        self.rows = [*earlier, row]
        self._write()
        return row

    def column(self, name: str) -> list[float]:
        """One column; NaN where a row lacks it."""
        return [row.get(name, float("nan")) for row in self.rows]

    def last(self, name: str) -> float | None:
        """The newest value of a column."""
        values = [row[name] for row in self.rows if name in row]
        return values[-1] if values else None

    def growth(self, name: str) -> float:
        """What the newest row adds to a counter."""
        now, *before = [row.get(name, 0.0) for row in self.rows[:-3:-1]]
        return max(0.0, now - (before[0] if before else 0.0))

    def _write(self) -> None:
        names = [*self.columns, *_DERIVED]
        names = [name for name in names if any(name in row for row in self.rows)]
        scratch = self.path.with_name(f".{self.path.name}")
        with scratch.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows({k: f"{v:.8g}" for k, v in row.items()} for row in self.rows)
        os.replace(scratch, self.path)


def _derived(
    row: Mapping[str, float], before: Mapping[str, float], result: Mapping[str, Any]
) -> dict[str, float]:
    """Update; the rest of the iteration, which is sampling and what travels; speed over both."""
    seconds = row["seconds_iteration"]
    update = sum(float(_lookup(result, where) or 0.0) for where in _UPDATE_SECONDS)
    return {
        "seconds_update": update,
        "seconds_sampling": seconds - update,
        "env_steps_per_second": (row["env_steps"] - before.get("env_steps", 0.0)) / seconds,
    }


def _lookup(result: Mapping[str, Any], where: str) -> Any:
    value: Any = result
    for key in where.split("/"):
        if not isinstance(value, Mapping) or key not in value:
            return None
        value = value[key]
    return value
