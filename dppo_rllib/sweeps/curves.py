"""Learning curves of runs and of sweeps, averaged over seeds."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from dppo_rllib.checkpoints import StoragePath

CONFIDENCE = 0.95
SEED = "seed"
STEPS = "env_runners/num_env_steps_sampled_lifetime"
# Columns of the metrics.csv that `dppo finetune` writes, by their name in RLlib's results.
RUN_COLUMNS = {
    STEPS: "env_steps",
    "training_iteration": "iteration",
    "time_total_s": "seconds_total",
    "env_runners/episode_return_mean": "return_mean",
    "env_runners/success_rate": "success_rate",
}


@dataclass(frozen=True)
class Curve:
    """How one run went.

    Attributes:
        settings: What tells it from others; `seed` among them.
        x: Where it was measured, rising.
        y: What was measured.
        path: Where it lies.
    """

    settings: Mapping[str, Any]
    x: Float[np.ndarray, " T"]
    y: Float[np.ndarray, " T"]
    path: str


@dataclass(frozen=True)
class Mean:
    """Curves that differ by their seed alone.

    Attributes:
        settings: What they have in common.
        x: Where all of them can be read off.
        mean: Over the curves.
        half_width: Of the 95 % confidence interval of the mean (Student's t); 0 for one curve.
        count: How many there are.
    """

    settings: Mapping[str, Any]
    x: Float[np.ndarray, " T"]
    mean: Float[np.ndarray, " T"]
    half_width: Float[np.ndarray, " T"]
    count: int


def read_curves(path: str | StoragePath, *, x: str = STEPS, y: str) -> list[Curve]:
    """The curves at `path`.

    Args:
        path: Directory or URI of a run of `dppo finetune`, or of a sweep.
        x: What to draw along, by its name in RLlib's results.
        y: What to draw.

    Raises:
        FileNotFoundError: There is neither.
        ValueError: What was asked for was not recorded.
    """
    root = StoragePath.of(path)
    if (root / "run.json").is_file():
        return [_curve_of_run(root, x, y)]
    trials = [folder for folder in root.folders() if _has_begun(folder)]
    if not trials:
        raise FileNotFoundError(
            f"{path}: neither a run of dppo finetune (run.json, metrics.csv) nor a sweep with "
            "trials that have begun"
        )
    configs = [json.loads((trial / "params.json").read_bytes()) for trial in trials]
    told_apart = varied(configs)
    return [
        _curve(trial / "progress.csv", {k: c[k] for k in told_apart if k in c}, x, y)
        for trial, c in zip(trials, configs, strict=True)
    ]


def _has_begun(trial: StoragePath) -> bool:
    table = trial / "progress.csv"
    return table.is_file() and bool(table.read_bytes())


def varied(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Settings in which configurations differ, in the order in which they come."""
    configs = list(configs)
    keys = dict.fromkeys(key for config in configs for key in config)
    first = configs[0] if configs else {}
    return [k for k in keys if any(config.get(k) != first.get(k) for config in configs)]


def average(curves: Iterable[Curve]) -> list[Mean]:
    """Means of curves that differ by their seed alone, read off where all of them have been."""
    groups: dict[str, list[Curve]] = {}
    for curve in curves:
        key = json.dumps(without_seed(curve.settings), sort_keys=True, default=str)
        groups.setdefault(key, []).append(curve)
    return [_mean(group) for group in groups.values()]


def without_seed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings but for the seed."""
    return {key: value for key, value in settings.items() if key != SEED}


def half_width(values: Float[np.ndarray, "n *T"]) -> Float[np.ndarray, "*T"]:
    """Of the 95 % confidence interval of the mean over the first axis; 0 for a single value."""
    count = len(values)
    if count < 2:
        return np.zeros(values.shape[1:])
    t = stats.t.ppf(0.5 + CONFIDENCE / 2, count - 1)
    return np.asarray(t * values.std(axis=0, ddof=1) / np.sqrt(count))


def _mean(group: list[Curve]) -> Mean:
    low = max(curve.x[0] for curve in group)
    high = min(curve.x[-1] for curve in group)
    grid = np.unique(np.concatenate([curve.x for curve in group]))
    grid = grid[(grid >= low) & (grid <= high)]
    values = np.stack([np.interp(grid, curve.x, curve.y) for curve in group])
    settings = without_seed(group[0].settings)
    return Mean(settings, grid, values.mean(axis=0), half_width(values), len(group))


def _curve_of_run(root: StoragePath, x: str, y: str) -> Curve:
    run = json.loads((root / "run.json").read_bytes())
    settings = {name: run.get(name) for name in ("task", "algorithm", "start", SEED)}
    return _curve(
        root / "metrics.csv",
        settings | run.get("settings", {}),
        RUN_COLUMNS.get(x, x),
        RUN_COLUMNS.get(y, y),
    )


def _curve(table: StoragePath, settings: Mapping[str, Any], x: str, y: str) -> Curve:
    rows = pd.read_csv(io.BytesIO(table.read_bytes()))
    for name in (x, y):
        if name not in rows:
            raise ValueError(f"{table}: has no {name}; expected one of {sorted(rows)}")
    # A trial that was resumed may have done an iteration twice.
    rows = rows[[x, y]].dropna().groupby(x, as_index=False).last()
    values = rows.to_numpy(np.float64)
    return Curve(settings, values[:, 0], values[:, 1], str(table.parent))
