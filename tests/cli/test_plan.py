"""What a command refuses before it starts, because the environment says so."""

from __future__ import annotations

from typing import Any

import pytest

from dppo_rllib import DiffusionBCConfig, DPPOConfig
from dppo_rllib.cli.plan import _check_environment, _check_values
from dppo_rllib.datasets import DatasetReader
from dppo_rllib.environments import PixelReach
from dppo_rllib.tasks import Task, get_task

SEEN: dict[str, Any] = {"env": PixelReach, "obs_dim": 2, "action_dim": 2}


@pytest.mark.parametrize(
    ("fields", "settings", "message"),
    [
        ({}, {}, r"vision=None: observations have pictures of shape \(3, 24, 24\); set vision"),
        ({}, {"vision": {"num_cameras": 2}}, "num_cameras=2: expected a divisor of the 3 channels"),
        ({"obs_dim": 3}, {"vision": {}}, "obs_dim=3, but its environment has 2"),
        ({"env": "Pendulum-v1", "obs_dim": 3, "action_dim": 1}, {"vision": {}}, "no pictures; set"),
    ],
)
@pytest.mark.parametrize("config_class", [DPPOConfig, DiffusionBCConfig])
def test_a_policy_that_does_not_fit_what_the_environment_shows_is_refused(
    config_class: Any, fields: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    task = Task(name="seen", description="", **(SEEN | fields))
    with pytest.raises(ValueError, match=message):
        _check_environment(task, config_class().training(**settings))


def test_what_fits_is_let_through() -> None:
    task = Task(name="seen", description="", **SEEN)
    _check_environment(task, DPPOConfig().training(vision={}))


def test_demonstrations_are_checked_in_the_memory_that_they_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[int] = []
    real = DatasetReader.read

    def noted(reader: DatasetReader, episodes: Any) -> Any:
        demonstrations = real(reader, episodes)
        read.append(demonstrations.num_frames * reader.frame_bytes)
        return demonstrations

    monkeypatch.setattr(DatasetReader, "read", noted)
    dataset = get_task("hopper-medium").dataset
    for limit in (None, 1e6):
        _check_values(DiffusionBCConfig().training(dataset=dataset, dataset_memory_limit=limit))
    whole, *parts = read
    assert sum(parts) == whole and max(parts) < 1e6
