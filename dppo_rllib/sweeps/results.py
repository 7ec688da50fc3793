"""What a sweep has found: a row per trial, and one per choice of settings."""

from __future__ import annotations

import posixpath
from typing import Any

import numpy as np
import pandas as pd
from ray.tune import ResultGrid

from dppo_rllib.checkpoints import StoragePath
from dppo_rllib.sweeps.curves import SEED, STEPS, half_width, varied
from dppo_rllib.sweeps.sweep import Sweep

# Columns that are no settings.
SUMMARY = ("trials", "iterations", "env_steps", "seconds", "value", "half_width", "path", "error")


def trial_rows(results: ResultGrid, sweep: Sweep, directory: StoragePath) -> pd.DataFrame:
    """A row per trial: the settings in which trials differ, and how it ended.

    Columns beside the settings: `iterations`, `env_steps`, `seconds`, `value` (the sweep's metric;
    NaN for a trial that has not begun), `path`, `error`.

    Args:
        results: Tune's.
        sweep: What was tried.
        directory: Where the trials are.
    """
    results = list(results)
    configs = [result.config or {} for result in results]
    names = varied(configs)
    return pd.DataFrame(
        [
            {name: config.get(name) for name in names} | _ending(result, sweep, directory)
            for result, config in zip(results, configs, strict=True)
        ]
    )


def _ending(result: Any, sweep: Sweep, directory: StoragePath) -> dict[str, Any]:
    table = result.metrics_dataframe
    last = {} if table is None or table.empty else table.iloc[-1].to_dict()
    return {
        "iterations": last.get("training_iteration", 0),
        "env_steps": last.get(STEPS, 0),
        "seconds": last.get("time_total_s", 0.0),
        "value": last.get(sweep.metric, np.nan),
        "path": str(directory / posixpath.basename(result.path)),
        "error": "" if result.error is None else str(result.error).strip().splitlines()[-1],
    }


def summarized(rows: pd.DataFrame, sweep: Sweep) -> pd.DataFrame:
    """A row per choice of settings but for the seed, best first.

    `value` is the mean over seeds, `half_width` that of its 95 % confidence interval, `trials` the
    number of seeds.
    """
    settings = [name for name in rows if name not in (*SUMMARY, SEED)]
    # Groups by text: settings may be lists.
    groups = rows.groupby(rows[settings].astype(str).agg("|".join, axis=1), sort=False)
    found = pd.DataFrame(
        [
            {
                **group.iloc[0][settings].to_dict(),
                "trials": len(group),
                "iterations": group["iterations"].min(),
                "env_steps": group["env_steps"].min(),
                "value": group["value"].mean(),
                "half_width": float(half_width(group["value"].to_numpy(np.float64))),
            }
            for _, group in groups
        ]
    )
    return found.sort_values("value", ascending=sweep.mode == "min", ignore_index=True)
