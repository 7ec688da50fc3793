"""What a sweep reports of its trials."""

from __future__ import annotations

import pandas as pd
import pytest

from dppo_rllib.sweeps import Sweep
from dppo_rllib.sweeps.results import summarized

ROWS = pd.DataFrame(
    {
        "clip": [0.1, 0.1, 0.2],
        "seed": [0, 1, 0],
        "iterations": [3, 2, 3],
        "env_steps": [30, 20, 30],
        "value": [1.0, 3.0, 5.0],
    }
)


@pytest.mark.parametrize(("mode", "clips"), [("max", [0.2, 0.1]), ("min", [0.1, 0.2])])
def test_trials_of_the_same_settings_are_one_row_and_the_best_is_first(
    mode: str, clips: list[float]
) -> None:
    found = summarized(ROWS, Sweep("", {"task": "a"}, iterations=1, mode=mode))
    assert found["clip"].tolist() == clips
    two = found[found["clip"] == 0.1].iloc[0]
    assert (two["trials"], two["iterations"], two["value"]) == (2, 2, 2.0)
    assert two["half_width"] == pytest.approx(12.706, rel=1e-3)  # t of one degree of freedom


def test_seeds_alone_are_a_single_row() -> None:
    found = summarized(ROWS.drop(columns="clip"), Sweep("", {"task": "a"}, iterations=1))
    assert found["trials"].tolist() == [3] and found["value"].tolist() == [3.0]
