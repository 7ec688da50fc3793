"""DPPO as a whole: topologies, several learners, resuming, failures, registration."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
import two_modes
from ray import tune
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from two_modes import TwoModes

import dppo_rllib
from dppo_rllib import DPPO, DPPOConfig
from dppo_rllib.checkpoints import load_policy

# Workers cannot import modules of the test folder.
ray.cloudpickle.register_pickle_by_value(two_modes)
SLOW = pytest.mark.slow  # the other cases of a test


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, ignore_reinit_error=True)
    yield
    ray.shutdown()


def small_config(runners: int = 0, learners: int = 0, **training: Any) -> DPPOConfig:
    settings = {
        "network": {"mlp_dims": (16, 16, 16), "time_dim": 8},
        "critic": {"mlp_dims": (16, 16, 16)},
        "act_steps": 2,
        "denoising_steps": 4,
        "ft_denoising_steps": 2,
        "minibatch_size": 40,
        "num_epochs": 2,
        "learner_threads": 1,
        "actor_lr": 1e-3,
        "actor_lr_warmup_steps": 2,
    }
    config = (
        DPPOConfig()
        .environment(TwoModes)
        .training(**(settings | training))
        .env_runners(
            num_env_runners=runners,
            num_envs_per_env_runner=4,
            rollout_fragment_length=6,
            num_cpus_per_env_runner=0.1,
        )
        .learners(num_learners=learners, num_cpus_per_learner=0.1)
        .debugging(seed=3)
    )
    config.num_cpus_for_main_process = 0.1
    return config


def weights(algo: DPPO) -> dict[str, np.ndarray]:
    return algo.learner_group.get_weights()[DEFAULT_MODULE_ID]


def assert_same(first: Any, second: Any, **tolerance: float) -> None:
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_allclose(first[key], second[key], err_msg=key, **tolerance)


@pytest.mark.parametrize(
    ("runners", "learners"),
    [
        (0, 0),
        (2, 2),
        *(pytest.param(*sizes, marks=SLOW) for sizes in [(0, 1), (1, 1), (2, 0), (0, 2)]),
    ],
)
def test_every_topology_trains(runners: int, learners: int) -> None:
    algo = small_config(runners, learners).build_algo()
    before = weights(algo)
    for _ in range(2):
        result = algo.train()
    after = weights(algo)
    sampled = result["env_runners"]["num_env_steps_sampled_lifetime"]
    assert sampled == 2 * max(1, runners) * 4 * 6 * 2  # iterations, runners, envs, chunks, steps
    assert result["env_runners"]["weights_seq_no"] == 1  # the second rollout had fresh weights
    assert np.isfinite(result["learners"][DEFAULT_MODULE_ID]["total_loss"])
    frozen = [k for k in before if k.startswith("policy.actor.")]
    trained = [k for k in before if k.startswith(("policy.actor_ft.", "critic."))]
    assert all(np.array_equal(before[k], after[k]) for k in frozen)
    assert not [k for k in trained if np.array_equal(before[k], after[k])]
    algo.stop()


def test_one_and_two_learners_agree_on_the_same_data() -> None:
    sampler = small_config(0, 0).build_algo()
    weights_now = (
        sampler.learner_group.foreach_learner(
            lambda learner: learner.acting_state(["actor", "actor_ft"])
        )
        .result_or_errors[0]
        .get()
    )
    whole = sampler.env_runner.rollout(1, 0, weights_now).shards[0]
    sampler.stop()
    states = []
    for learners in (0, 2):
        algo = small_config(0, learners).build_algo()
        algo.learner_group.set_weights({DEFAULT_MODULE_ID: initial_state()})
        for _ in range(2):
            shards = whole.split(max(1, learners))
            data = TrainingData(batches=shards) if learners else TrainingData(batch=shards[0])
            algo.learner_group.update(training_data=data)
        states.append(weights(algo))
        algo.stop()
    assert_same(*states, rtol=1e-4, atol=2e-6)


def initial_state() -> dict[str, np.ndarray]:
    algo = small_config(0, 0).build_algo()
    state = weights(algo)
    algo.stop()
    return state


def learner_state(algo: DPPO) -> dict[str, Any]:
    state = algo.learner_group.get_state()["learner"]
    optimizers = {
        f"{name}.{index}.{key}": value
        for name, optimizer in state["optimizer"].items()
        for index, entries in optimizer["state"]["state"].items()
        for key, value in entries.items()
    }
    scaling = state["dppo"]["reward_scaling"]
    sums = {f"sum.{k}": v for k, v in scaling.pop("sums").items()}
    return {"iteration": state["dppo"]["iteration"], **optimizers, **scaling, **sums}


def test_a_checkpoint_needs_the_policy_no_more_that_it_started_from(tmp_path: Path) -> None:
    first = small_config().build_algo()
    first.save_to_path(str(tmp_path / "first"))
    first.stop()
    algo = small_config(base_policy=tmp_path / "first" / "policy").build_algo()
    algo.train()
    algo.save_to_path(str(tmp_path / "second"))
    shutil.rmtree(tmp_path / "first")
    again = DPPO.from_checkpoint(str(tmp_path / "second"))
    assert_same(weights(algo), weights(again), rtol=0, atol=0)
    again.train()
    algo.stop()
    again.stop()


@pytest.mark.parametrize("runners", [0, pytest.param(2, marks=SLOW)])
def test_a_resumed_run_equals_the_unbroken_one(runners: int, tmp_path: Path) -> None:
    config = small_config(runners, reset_at_iteration=True, n_critic_warmup_itr=1)
    unbroken = config.build_algo()
    for _ in range(4):
        unbroken.train()
    broken = config.copy().build_algo()
    for _ in range(2):
        broken.train()
    broken.save_to_path(str(tmp_path / "checkpoint"))
    broken.stop()
    resumed = DPPO.from_checkpoint(str(tmp_path / "checkpoint"))
    for _ in range(2):
        resumed.train()
    assert resumed.iteration == 4
    assert_same(weights(unbroken), weights(resumed), rtol=0, atol=0)
    assert_same(learner_state(unbroken), learner_state(resumed), rtol=0, atol=0)
    unbroken.stop()
    resumed.stop()


def test_an_older_state_replaces_a_newer_one(tmp_path: Path) -> None:
    algo = small_config().build_algo()
    algo.train()
    old = weights(algo)
    algo.save_to_path(str(tmp_path / "old"))
    algo.train()
    algo.restore_from_path(str(tmp_path / "old"))
    assert_same(old, weights(algo), rtol=0, atol=0)
    algo.stop()


def test_a_checkpoint_holds_a_policy_that_acts_alike(tmp_path: Path) -> None:
    algo = small_config().build_algo()
    algo.train()
    algo.save_to_path(str(tmp_path / "checkpoint"))
    saved = load_policy(tmp_path / "checkpoint")
    policy = saved.build()
    own = (
        algo.learner_group.foreach_learner(lambda learner: learner.module[DEFAULT_MODULE_ID].policy)
        .result_or_errors[0]
        .get()
    )
    obs = {"state": torch.linspace(-1, 1, 5).view(5, 1, 1)}
    noise = policy.draw_noise(5)
    assert torch.equal(policy.sample(obs, noise=noise).x, own.sample(obs, noise=noise).x)
    assert saved.config.ft_denoising_steps == 2
    algo.stop()


def test_a_policy_names_only_an_environment_that_its_file_can_describe() -> None:
    tune.register_env("two_modes_of_the_test", lambda context: two_modes.TwoModes())
    for env, env_config in (
        ("two_modes_of_the_test", {}),
        ("Pendulum-v1", {"g": np.float32(9.0)}),
        (two_modes.TwoModes, {}),
    ):
        algo = small_config(0, 0).environment(env, env_config=env_config).build_algo()
        assert algo.get_policy_checkpoint().env is None
        algo.stop()


def test_a_killed_runner_costs_no_more_than_its_share() -> None:
    algo = small_config(2, 1).build_algo()
    whole = algo.train()["env_runners"]["num_env_steps_sampled"]
    victim = algo.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )[0]
    os.kill(victim, signal.SIGKILL)
    steps = [algo.train()["env_runners"]["num_env_steps_sampled"] for _ in range(3)]
    deadline = time.monotonic() + 60
    while steps[-1] < whole and time.monotonic() < deadline:
        result = algo.train()
        steps.append(result["env_runners"]["num_env_steps_sampled"])
    assert min(steps) == whole / 2, "the other runner's share is learned from"
    assert steps[-1] == whole, "a new runner takes the place of the killed one"
    assert algo.train()["num_lost_rollouts"] == steps.count(whole / 2)
    algo.stop()


@SLOW
@pytest.mark.parametrize("learners", [0, 1])
def test_trajectories_that_vanish_are_sampled_anew(
    learners: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    algo = small_config(1, learners).build_algo()
    sample = algo._sample
    holder = algo.env_runner_group.foreach_env_runner(
        lambda runner: os.getpid(), local_env_runner=False
    )[0]

    def sample_and_lose(weights_now: Any) -> Any:
        monkeypatch.setattr(algo, "_sample", sample)
        rollouts = sample(weights_now)
        os.kill(holder, signal.SIGKILL)
        time.sleep(2)  # until Ray knows
        return rollouts

    monkeypatch.setattr(algo, "_sample", sample_and_lose)
    result = algo.train()
    assert result["num_lost_iterations"] == 1
    # Both samples were taken, the second was learned from.
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == 2 * 4 * 6 * 2
    assert np.isfinite(result["learners"][DEFAULT_MODULE_ID]["total_loss"])
    algo.stop()


@SLOW
def test_learners_without_a_seed_have_the_same_weights() -> None:
    algo = small_config(0, 2).debugging(seed=None).build_algo()
    algo.train()
    states = algo.learner_group.foreach_learner(
        lambda learner: learner.module[DEFAULT_MODULE_ID].get_state()
    )
    first, second = (result.get() for result in states.result_or_errors)
    assert_same(first, second, rtol=0, atol=0)
    algo.stop()


def test_an_environment_that_always_fails_stops_the_run_with_its_own_error() -> None:
    config = small_config(1, 0).environment(two_modes.Broken)
    algo = config.build_algo()
    with pytest.raises(Exception, match="the gripper fell off"):
        algo.train()
    algo.stop()


def test_annealing_fewer_steps_keeps_what_they_have_learned() -> None:
    algo = small_config(
        1, ft_denoising_steps=[[0, 2], [2, 1]], min_sampling_denoising_std=[[0, 0.2], [2, 0.1]]
    ).build_algo()
    for expected in (2, 2, 1):
        learned = weights(algo)
        result = algo.train()["learners"][DEFAULT_MODULE_ID]
        assert result["ft_denoising_steps"] == expected
    base = {k: v for k, v in weights(algo).items() if k.startswith("policy.actor.")}
    for key, value in base.items():
        np.testing.assert_array_equal(value, learned[key])
        np.testing.assert_array_equal(value, learned[key.replace("actor.", "actor_ft.")])
    algo.stop()


def test_evaluation_reports_both_kinds_with_success_intervals() -> None:
    config = small_config().evaluation(
        evaluation_interval=1, evaluation_duration=6, evaluation_num_env_runners=1
    )
    algo = config.build_algo()
    results = algo.train()["evaluation"]["env_runners"]
    for kind in ("deterministic", "stochastic"):
        found = results[kind]
        assert found["num_episodes"] == 6
        assert 0 <= found["success_rate_low"] <= found["success_rate"]
        assert found["success_rate"] <= found["success_rate_high"] <= 1
    assert results["episode_return_mean"] == pytest.approx(
        results["deterministic"]["episode_return_mean"]
    )
    algo.stop()


def test_tune_finds_the_algorithm_by_its_name_and_refuses_typos(tmp_path: Path) -> None:
    dppo_rllib.register()
    run = tune.RunConfig(storage_path=str(tmp_path), stop={"training_iteration": 1}, verbose=0)
    space = small_config().to_dict() | {"clip_param": tune.grid_search([0.01, 0.02])}
    results = tune.Tuner("DPPO", param_space=space, run_config=run).fit()
    assert len(results) == 2 and not results.errors
    with pytest.raises(ValueError, match="clip_parm.*clip_param"):
        DPPOConfig().update_from_dict({"clip_parm": 0.1})
