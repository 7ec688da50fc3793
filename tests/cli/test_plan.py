"""What a command refuses before it starts, because the environment says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from dppo_rllib import DiffusionBCConfig, DPPOConfig
from dppo_rllib.algorithms.memory import Memory
from dppo_rllib.algorithms.placement import Cluster
from dppo_rllib.cli.checks import check_environment, check_values
from dppo_rllib.cli.placement import warnings
from dppo_rllib.cli.plan import Plan
from dppo_rllib.datasets import DatasetReader, Demonstrations, write_demonstrations
from dppo_rllib.environments import PixelReach
from dppo_rllib.tasks import Task, get_task, register

PENDULUM: dict[str, Any] = {"env": "Pendulum-v1", "obs_dim": 3, "action_dim": 1}
CLONING = {"DiffusionBC": {"vision": {}, "horizon_steps": 2, "act_steps": 2}}
SEEN: dict[str, Any] = {"env": PixelReach, "obs_dim": 2, "action_dim": 2}


@pytest.mark.parametrize(
    ("fields", "settings", "message"),
    [
        ({}, {}, r"vision=None: observations have pictures of shape \(3, 24, 24\); set vision"),
        ({}, {"vision": {"num_cameras": 2}}, "num_cameras=2: expected a divisor of the 3 channels"),
        ({"obs_dim": 3}, {"vision": {}}, "obs_dim=3, but its environment has 2"),
        (PENDULUM, {"vision": {}}, "no pictures; set"),
    ],
)
@pytest.mark.parametrize("config_class", [DPPOConfig, DiffusionBCConfig])
def test_a_policy_that_does_not_fit_what_the_environment_shows_is_refused(
    config_class: Any, fields: dict[str, Any], settings: dict[str, Any], message: str
) -> None:
    task = Task(name="seen", description="", **(SEEN | fields))
    with pytest.raises(ValueError, match=message):
        check_environment(task, config_class().training(**settings))


def test_what_fits_is_let_through() -> None:
    task = Task(name="seen", description="", **SEEN)
    check_environment(task, DPPOConfig().training(vision={}))


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
        check_values(DiffusionBCConfig().training(dataset=dataset, dataset_memory_limit=limit))
    whole, *parts = read
    assert sum(parts) == whole and max(parts) < 1e6


@pytest.fixture
def pretrain(tmp_path: Path) -> Any:
    """Plans to clone demonstrations whose pictures are 32 x 32; with `--set` what it is given."""
    register(Task(name="seen-small", description="", settings=CLONING, **SEEN))
    frames = 8
    ends = np.arange(frames) % 4 == 3
    demonstrations = Demonstrations(
        observations=np.random.default_rng(0).uniform(-1, 1, (frames, 2)).astype(np.float32),
        actions=np.random.default_rng(1).uniform(-1, 1, (frames, 2)).astype(np.float32),
        rewards=np.zeros(frames, np.float32),
        terminated=np.zeros(frames, bool),
        truncated=ends,
        episode_lengths=np.full(2, 4, np.int64),
        fps=10.0,
        images=np.zeros((frames, 3, 32, 32), np.uint8),
    )
    data = write_demonstrations(demonstrations, tmp_path / "data")

    def plan(*settings: str) -> Plan:
        return Plan.pretrain(
            "seen-small",
            policy="diffusion",
            epochs=1,
            settings=[f"dataset={data}", *settings],
            learners=0,
            gpus_per_learner=None,
            output=str(tmp_path / "run"),
            episodes=2,
            seed=0,
            video=False,
        )

    return plan


def test_demonstrations_with_other_pictures_than_the_environments_are_refused(
    pretrain: Any,
) -> None:
    message = r"pictures \(C, H, W\) are \(3, 32, 32\), but .* seen-small shows \(3, 24, 24\)"
    with pytest.raises(ValueError, match=message):
        pretrain()


def test_settings_of_the_environment_reach_training_and_evaluation(pretrain: Any) -> None:
    plan = pretrain("env_config.image_size=32")
    assert plan.policy.image_shape == (3, 32, 32)
    assert plan.config.env_config == plan.env_settings == {"image_size": 32}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("env_config.image_size=4", "image_size=4: expected at least 8"),
        ("env_config.size=32", r"env_config=\{'size': 32\}: .* unexpected keyword argument 'size'"),
        ("env_config={}", "--set env_config: a setting of the task"),
    ],
)
def test_settings_that_the_environment_does_not_take_are_refused(
    pretrain: Any, setting: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        pretrain(setting)


class Uninstalled(gymnasium.Env):
    """An environment whose simulator is not there."""

    def __init__(self) -> None:
        raise ImportError("no simulator is installed; pip install it")


def test_a_simulator_that_is_not_there_is_the_users_mistake_to_read_of() -> None:
    task = Task(name="gone", description="", env=Uninstalled, obs_dim=1, action_dim=1)
    with pytest.raises(ValueError, match="task gone: no simulator is installed; pip install it"):
        check_environment(task, DPPOConfig())


@pytest.fixture
def finetune(tmp_path: Path) -> Any:
    """Plans to fine-tune in a simulator on a GPU, or in one that is not."""

    def plan(on_gpu: bool, runners: int | None = None, learners: int | None = None) -> Plan:
        name = "planned-on-gpu" if on_gpu else "planned"
        register(
            Task(name=name, description="", from_scratch=True, gpu_simulator=on_gpu, **PENDULUM)
        )
        return Plan.finetune(
            name,
            start=None,
            algorithm="GaussianPPO",
            settings=[],
            iterations=1,
            runners=runners,
            learners=learners,
            gpus_per_learner=None,
            output=str(tmp_path / "run"),
            episodes=2,
            seed=0,
            video=False,
        )

    return plan


@pytest.mark.parametrize(
    ("on_gpu", "runners", "learners", "expected"),
    [
        (True, None, None, (0, 0, 1)),
        (False, None, None, (8, 1, 1)),
        (True, 2, None, (2, 1, 1)),
        (True, None, 1, (0, 1, 1)),
        (False, 0, None, (0, 1, 1)),
    ],
)
def test_a_simulator_on_a_gpu_shares_the_process_that_learns(
    finetune: Any, on_gpu: bool, runners: Any, learners: Any, expected: tuple[int, int, float]
) -> None:
    plan, cluster = finetune(on_gpu, runners, learners), Cluster([{"CPU": 8, "GPU": 1}])
    plan.settle(cluster)
    config = plan.config
    found = (config.num_env_runners, config.num_learners, config.num_gpus_per_learner)
    assert found == expected
    said = warnings(config, cluster, Memory(0, 0, 0, 0), waits=False, gpu_simulator=on_gpu)
    assert bool(said) == (on_gpu and expected[:2] != (0, 0))
    assert all("--runners 0 --learners 0" in text for text in said)
