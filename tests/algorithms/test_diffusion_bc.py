"""Pre-training: its average, several learners, resuming, the validation split."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
import two_modes
from ray.rllib.core import DEFAULT_MODULE_ID
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from two_modes import EPISODE_STEPS, TwoModes, demonstrations

from dppo_rllib import DiffusionBC, DiffusionBCConfig
from dppo_rllib.algorithms.bc_learner import update_average
from dppo_rllib.checkpoints import load_policy
from dppo_rllib.datasets import write_demonstrations

EPISODES = 40


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, ignore_reinit_error=True)
    ray.cloudpickle.register_pickle_by_value(two_modes)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_demonstrations(
        demonstrations(EPISODES), tmp_path_factory.mktemp("data") / "two_modes"
    )


def small_config(dataset: Path, learners: int = 0, **training: Any) -> DiffusionBCConfig:
    settings = {
        "network": {"mlp_dims": (16, 16, 16), "time_dim": 8},
        "horizon_steps": 2,
        "act_steps": 2,
        "denoising_steps": 4,
        "minibatch_size": 32,
        "ema_update_every": 2,
        "ema_start_epoch": 1,
        "validation_fraction": 0.25,
        "learner_threads": 1,
    }
    config = DiffusionBCConfig().training(dataset=dataset, **(settings | training))
    config.learners(num_learners=learners, num_cpus_per_learner=0.1).debugging(seed=3)
    config.num_cpus_for_main_process = 0.1
    return config


def test_statistics_without_a_column_are_refused(dataset: Path, tmp_path: Path) -> None:
    damaged = shutil.copytree(dataset, tmp_path / "damaged")
    (damaged / "meta" / "stats.json").write_text('{"action": {"min": [0], "max": [1]}}')
    with pytest.raises(ValueError, match=r"damaged: no statistics of observation.state, only of"):
        DiffusionBCConfig().training(dataset=damaged)


def train(algo: DiffusionBC, epochs: int) -> list[dict[str, Any]]:
    return [algo.train()["learners"][DEFAULT_MODULE_ID] for _ in range(epochs)]


def weights(algo: DiffusionBC) -> dict[str, np.ndarray]:
    return algo.learner_group.get_weights()[DEFAULT_MODULE_ID]


def test_the_average_is_that_of_the_authors(golden: Any) -> None:
    average, online = nn.Linear(3, 2), nn.Linear(3, 2)
    vector_to_parameters(torch.from_numpy(golden["ema/ma_before"]), average.parameters())
    vector_to_parameters(torch.from_numpy(golden["ema/cur"]), online.parameters())
    update_average(average, online, decay=0.995)
    after = parameters_to_vector(average.parameters()).detach()
    np.testing.assert_allclose(after, golden["ema/ma_after"], rtol=1e-6)


def test_the_average_is_a_copy_at_first_and_lags_behind_then(dataset: Path) -> None:
    algo = small_config(dataset).build_algo()
    distances = []
    for _ in range(2):
        train(algo, 1)
        state = weights(algo)
        actor = {k.removeprefix("policy.actor."): v for k, v in state.items() if "actor" in k}
        distances.append(max(np.abs(v - state[f"online.{k}"]).max() for k, v in actor.items()))
    algo.stop()
    assert distances[0] == 0
    assert distances[1] > 1e-3


def test_one_and_two_learners_give_the_same_weights(dataset: Path) -> None:
    # 90 training samples: the last minibatch is a single one, of which a learner has nothing.
    first = small_config(dataset, minibatch_size=89).build_algo()
    assert len(first.learner_group._learner._train) == 90
    initial = weights(first)
    one = train(first, 2)
    second = small_config(dataset, learners=2, minibatch_size=89).build_algo()
    second.learner_group.set_weights({DEFAULT_MODULE_ID: initial})
    two = train(second, 2)
    for key in initial:
        np.testing.assert_allclose(
            weights(first)[key], weights(second)[key], rtol=1e-4, atol=2e-6, err_msg=key
        )
    for metric in ("train_loss", "validation_loss"):
        found = [[float(epoch[metric]) for epoch in run] for run in (one, two)]
        np.testing.assert_allclose(*found, rtol=1e-4)
    first.stop()
    second.stop()


def test_a_resumed_training_equals_the_unbroken_one(dataset: Path, tmp_path: Path) -> None:
    unbroken = small_config(dataset).build_algo()
    train(unbroken, 4)
    broken = small_config(dataset).build_algo()
    train(broken, 2)
    broken.save_to_path(str(tmp_path / "checkpoint"))
    broken.stop()
    resumed = DiffusionBC.from_checkpoint(str(tmp_path / "checkpoint"))
    train(resumed, 2)
    first, second = weights(unbroken), weights(resumed)
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)
    unbroken.stop()
    resumed.stop()


def test_held_out_episodes_are_never_trained_on(dataset: Path) -> None:
    algo = small_config(dataset).build_algo()
    learner = algo.learner_group._learner
    trained, held_out = (
        {tuple(episode) for episode in chunks.actions.view(-1, EPISODE_STEPS).tolist()}
        for chunks in (learner._train, learner._validation)
    )
    algo.stop()
    assert (len(trained), len(held_out)) == (EPISODES * 3 // 4, EPISODES // 4)
    assert not trained & held_out


def test_the_checkpoint_holds_the_average_its_normalization_and_its_dimensions(
    dataset: Path, tmp_path: Path
) -> None:
    algo = small_config(dataset).build_algo()
    train(algo, 2)
    algo.save_to_path(str(tmp_path / "checkpoint"))
    state = weights(algo)
    algo.stop()
    policy = load_policy(tmp_path / "checkpoint" / "policy")
    assert (policy.config.obs_dim, policy.config.action_dim) == (1, 1)
    assert policy.normalization is not None
    for key, value in policy.weights.items():
        np.testing.assert_array_equal(value.numpy(), state[f"policy.{key}"], err_msg=key)


def test_an_environment_of_other_dimensions_is_refused(dataset: Path) -> None:
    config = small_config(dataset).environment("Pendulum-v1").evaluation(evaluation_interval=1)
    with pytest.raises(ValueError, match="obs_min: 1 entries, expected 3 as the environment"):
        config.build_algo()


@pytest.mark.parametrize("runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_pretraining_evaluates_in_the_environment_if_there_is_one(
    dataset: Path, runners: int
) -> None:
    config = small_config(dataset).environment(TwoModes)
    config.evaluation(
        evaluation_interval=1, evaluation_duration=3, evaluation_num_env_runners=runners
    )
    algo = config.build_algo()
    found = algo.train()["evaluation"]["env_runners"]
    algo.stop()
    for kind in ("deterministic", "stochastic"):
        assert found[kind]["num_episodes"] == 3
        assert 0 <= found[kind]["success_rate"] <= 1
