from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ray

from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.lerobot import read_demonstrations
from dppo_rllib.errors import UserError
from dppo_rllib.tasks.behaviour import (
    BehaviourPolicy,
    CollectProgress,
    collect_demonstrations,
    train_behaviour,
)
from dppo_rllib.tasks.behaviour_specs import BEHAVIOURS, BehaviourSpec

pytest.importorskip("mujoco")

# One reward a step until the pole falls, at most 1000: every policy is in this range.
POLE = BehaviourSpec(
    env="InvertedPendulum-v5",
    task="Balance the pole.",
    return_range=(0.0, 1001.0),
    episodes=8,
    max_env_steps=4000,
    num_policies=2,
    noise_scale=1.0,
    check_interval=2,
    check_episodes=3,
    num_envs=3,
    batch_size=512,
)


@pytest.fixture(scope="module", autouse=True)
def one_local_ray() -> Iterator[None]:
    running = ray.is_initialized()
    if not running:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    if not running:
        ray.shutdown()


@pytest.fixture(scope="module")
def collected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demonstrations, Path, list]:
    path = tmp_path_factory.mktemp("data") / "pole"
    seen: list[CollectProgress] = []
    demos = collect_demonstrations(POLE, path, episodes=6, seed=4, progress=seen.append)
    return demos, path, seen


def test_what_is_returned_is_what_is_on_disk(collected: tuple) -> None:
    demos, path, _ = collected
    read = read_demonstrations(path)
    assert demos.num_episodes == read.num_episodes == 6
    assert demos.task == read.task == "Balance the pole."
    for field in ("observations", "actions", "rewards", "terminated", "truncated"):
        assert np.array_equal(getattr(demos, field), getattr(read, field)), field


def test_recorded_rewards_are_the_environments_own_and_actions_within_its_bounds(
    collected: tuple,
) -> None:
    demos, _, _ = collected
    assert set(np.unique(demos.rewards)) <= {0.0, 1.0}
    assert np.abs(demos.actions).max() <= 3.0
    assert np.abs(demos.actions).max() > 1.0


def test_progress_passes_through_training_recording_and_writing(collected: tuple) -> None:
    _, _, seen = collected
    stages = [progress.stage for progress in seen]
    assert stages == sorted(stages, key=["train", "record", "write"].index)
    trained = [progress for progress in seen if progress.stage == "train"]
    assert [progress.done for progress in trained] == sorted(progress.done for progress in trained)
    assert [progress.policies for progress in trained] == [0, 1, 1, 2]
    assert trained[0].return_mean is None
    assert trained[-1].return_mean is not None
    assert [p.done for p in seen if p.stage == "record"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_the_same_seed_trains_the_same_policies() -> None:
    def actions(policies: list[BehaviourPolicy]) -> np.ndarray:
        observations = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
        return np.stack([p(observations, np.random.default_rng(1)) for p in policies])

    one, same, other = (actions(train_behaviour(POLE, seed=seed)) for seed in (4, 4, 5))
    assert one.shape == (2, 5, 1)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_policies_outside_the_return_range_are_not_kept(tmp_path: Path) -> None:
    spec = replace(POLE, return_range=(1001.0, 2000.0), max_env_steps=1200)
    with pytest.raises(UserError, match=r"0 policies with a mean return in \(1001.0, 2000.0\)"):
        collect_demonstrations(spec, tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_without_noise_a_policy_acts_by_its_mean() -> None:
    (policy,) = train_behaviour(replace(POLE, num_policies=1, check_interval=1, noise_scale=0.0))
    noisy = replace(policy, noise_scale=1.0)
    observations = np.zeros((200, 4), np.float32)
    actions = policy(observations, np.random.default_rng(0))
    assert (actions == actions[0]).all()
    sampled = noisy(observations, np.random.default_rng(0))
    assert sampled.std() > 1.0  # of 3 x 1, before clipping


def test_an_existing_path_is_refused_before_training(tmp_path: Path) -> None:
    def fail(progress: CollectProgress) -> None:
        raise AssertionError(f"trained: {progress}")

    with pytest.raises(FileExistsError, match=str(tmp_path)):
        collect_demonstrations(POLE, tmp_path, progress=fail)


def test_unknown_tasks_are_named() -> None:
    with pytest.raises(ValueError, match="task = 'hoper': must be one of .*'hopper-medium'"):
        collect_demonstrations("hoper", "unused")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"return_range": (2.0, 1.0)}, "return_range = .*: the first must be the smaller"),
        ({"noise_scale": -0.1}, "noise_scale = -0.1: must not be negative"),
        ({"batch_size": 0}, "batch_size = 0: must be positive"),
        ({"num_policies": 0}, "num_policies = 0: must be positive"),
    ],
)
def test_a_specification_refuses_values_without_sense(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(POLE, **change)


@pytest.mark.parametrize("name", sorted(BEHAVIOURS))
def test_every_specification_builds_its_environment(name: str) -> None:
    env = BEHAVIOURS[name].make_env()
    assert env.action_space.shape is not None
    env.close()
