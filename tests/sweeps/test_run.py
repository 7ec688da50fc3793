"""Sweeps that really run: populations that copy and vary, interruption and resuming, the report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
from nod_sweep import CLIP, LR, POPULATION, SEEDS, sweep_file

from dppo_rllib.checkpoints import StoragePath
from dppo_rllib.checkpoints.find import find_policy
from dppo_rllib.sweeps import load_sweep
from dppo_rllib.sweeps.run import new_sweep

DPPO = [sys.executable, "-c", "from dppo_rllib.cli import app; app()"]


@pytest.fixture
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.slow
def test_a_trial_that_copies_a_better_one_learns_with_settings_of_its_own(
    cluster: None, tmp_path: Path
) -> None:
    sweep = load_sweep(sweep_file(tmp_path / "population.py", POPULATION))
    results = new_sweep(sweep, directory=StoragePath.of(tmp_path / "population")).fit()
    assert not results.errors
    [copied] = [r for r in results if r.metrics_dataframe["config/actor_lr"].nunique() > 1]
    table = copied.metrics_dataframe.set_index("training_iteration")
    settings = table[["config/actor_lr", "config/clip_param"]].drop_duplicates()
    # From the first iteration's settings to a variation (a fifth more or less) of the other's.
    before, after = settings.iloc[0], settings.iloc[1]
    assert tuple(before) in (tuple(pair) for pair in zip(LR.values(), CLIP.values(), strict=True))
    other = [lr for lr in LR.values() if lr != before["config/actor_lr"]][0]
    assert after["config/actor_lr"] / other in (pytest.approx(0.8), pytest.approx(1.2))
    # And the learner goes by it.
    rates = table["learners/default_policy/actor_lr"] / table["config/actor_lr"]
    np.testing.assert_allclose(rates[1:], 1, rtol=0.01)  # the first iteration warms up


def dppo(*arguments: Any, **options: Any) -> subprocess.Popen:
    return subprocess.Popen(
        [*DPPO, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finished(process: subprocess.Popen, code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


@pytest.mark.slow
def test_a_sweep_is_stopped_resumed_reported_and_drawn(tmp_path: Path) -> None:
    file = sweep_file(tmp_path / "nods.py", SEEDS)
    command = ["tune", file, "--storage", tmp_path / "results", "--concurrent", 1]
    first = dppo(*command)
    root = tmp_path / "results" / "nods"
    deadline = time.monotonic() + 180
    while not list(root.glob("trial_*/checkpoint_*")) and time.monotonic() < deadline:
        assert first.poll() is None, first.communicate()
        time.sleep(0.2)
    os.kill(first.pid, signal.SIGTERM)
    assert "--resume" in finished(first, 130)

    refused = finished(dppo(*command), 2)
    assert "has begun" in refused
    output = finished(dppo(*command, "--resume"))
    assert "nods: the best of 2" in output and "95 % confidence" in output

    trials = pd.read_csv(root / "trials.csv")
    assert sorted(trials["clip_param"]) == [0.1, 0.1, 0.2, 0.2]
    assert (trials["iterations"] == 3).all() and trials["error"].isna().all()
    assert (root / "curves.png").stat().st_size > 10_000
    assert find_policy(trials["path"][0])

    drawn = finished(dppo("plot", root, "--x", "iterations", "--output", tmp_path / "c.svg"))
    assert "4 runs as 2 curves" in drawn
    assert "clip_param=0.1 (2 seeds)" in (tmp_path / "c.svg").read_text()


@pytest.mark.slow
def test_a_failing_trial_is_told_and_the_command_fails(tmp_path: Path) -> None:
    broken = SEEDS.replace("iterations=3", "iterations=3, metric='env_runners/nothing'")
    file = sweep_file(tmp_path / "nods.py", broken)
    output = finished(dppo("tune", file, "--storage", tmp_path / "results"), 1)
    assert "env_runners/nothing" in output
