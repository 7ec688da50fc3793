"""What a sweep says at its end."""

import inspect
import types

import pandas as pd
from rich.console import Console

from dppo_rllib.cli import sweep_run


def test_a_sweep_whose_episodes_have_not_ended_says_so(monkeypatch):
    rows = pd.DataFrame({"value": [float("nan")] * 2})
    monkeypatch.setattr(sweep_run, "trial_rows", lambda *_: rows)
    sweep = types.SimpleNamespace(metric="env_runners/episode_return_mean")
    plan = types.SimpleNamespace(sweep=sweep, directory=None)
    console = Console(record=True, width=200)
    report = inspect.unwrap(sweep_run._report)  # of a plan as far as it is read
    report(console, plan, None)
    said = console.export_text()
    assert "No trial has reported env_runners/episode_return_mean" in said
    assert "--iterations" in said
