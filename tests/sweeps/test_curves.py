"""Learning curves: read from what runs leave, averaged over seeds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from dppo_rllib.sweeps import RETURN
from dppo_rllib.sweeps.curves import STEPS, Curve, average, half_width, read_curves, varied


def curve(settings: dict[str, Any], x: list[float], y: list[float]) -> Curve:
    return Curve(settings, np.array(x, float), np.array(y, float), "")


def write_trial(root: Path, name: str, config: dict[str, Any], rows: dict[str, list]) -> None:
    (root / name).mkdir(parents=True)
    (root / name / "params.json").write_text(json.dumps(config))
    pd.DataFrame(rows).to_csv(root / name / "progress.csv", index=False)


def test_curves_that_differ_by_their_seed_become_their_mean() -> None:
    curves = [
        curve({"clip": 0.1, "seed": 0}, [0, 10, 20], [0, 2, 4]),
        curve({"clip": 0.1, "seed": 1}, [5, 15], [3, 5]),
        curve({"clip": 0.2, "seed": 0}, [0, 10], [9, 9]),
    ]
    two, one = average(curves)
    assert (two.settings, two.count) == ({"clip": 0.1}, 2)
    assert (one.settings, one.count) == ({"clip": 0.2}, 1)
    # Where both have been, at every point that one of them has.
    assert two.x.tolist() == [5, 10, 15]
    assert two.mean.tolist() == [2, 3, 4]
    assert one.half_width.tolist() == [0, 0]


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_the_interval_is_students(values: list[float]) -> None:
    sample = np.array(values)
    found = float(half_width(sample))
    if sample.std() < 1e-9:
        assert found == pytest.approx(0, abs=1e-6)
        return
    low, high = stats.t.interval(0.95, len(values) - 1, sample.mean(), stats.sem(sample))
    assert found == pytest.approx((high - low) / 2, rel=1e-6)


def test_settings_that_all_share_tell_nothing_apart() -> None:
    configs = [{"task": "a", "clip": 0.1, "lr": 1}, {"task": "a", "clip": 0.2}]
    assert varied(configs) == ["clip", "lr"]
    assert varied(configs[:1]) == [] and varied([]) == []


def test_trials_of_a_sweep_are_read_with_what_tells_them_apart(tmp_path: Path) -> None:
    for seed in (0, 1):
        rows = {STEPS: [1, 2, 2, 3], RETURN: [0.0, 1.0, 1.5 + seed, np.nan]}
        write_trial(tmp_path, f"trial_{seed}", {"task": "a", "seed": seed}, rows)
    found = read_curves(str(tmp_path), y=RETURN)
    assert [c.settings for c in found] == [{"seed": 0}, {"seed": 1}]
    # An iteration that was done twice counts as it was done last; what is not a number is left out.
    assert found[1].x.tolist() == [1, 2] and found[1].y.tolist() == [0, 2.5]
    assert [c.settings for c in read_curves(tmp_path.as_uri(), y=RETURN)] == [
        {"seed": 0},
        {"seed": 1},
    ]


def test_a_run_is_read_by_the_names_of_its_table(tmp_path: Path) -> None:
    run = {"task": "hopper-medium", "algorithm": "DPPO", "start": "p", "seed": 3}
    (tmp_path / "run.json").write_text(json.dumps(run | {"settings": {"clip_param": 0.02}}))
    rows = {"iteration": [1, 2], "env_steps": [10, 20], "return_mean": [5.0, 6.0], "kl": [0.1, 0.2]}
    pd.DataFrame(rows).to_csv(tmp_path / "metrics.csv", index=False)
    [found] = read_curves(str(tmp_path), y=RETURN)
    assert found.settings == run | {"clip_param": 0.02}
    assert (found.x.tolist(), found.y.tolist()) == ([10, 20], [5, 6])
    [found] = read_curves(str(tmp_path), x="training_iteration", y="kl")
    assert (found.x.tolist(), found.y.tolist()) == ([1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="has no success_rate; expected one of .*'return_mean'"):
        read_curves(str(tmp_path), y="env_runners/success_rate")


def test_a_directory_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="neither a run of dppo finetune"):
        read_curves(str(tmp_path), y=RETURN)
