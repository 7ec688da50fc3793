"""What a runner holds and computes while it samples."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
import ray
import torch
from tiny_policies import CHUNKS, ENVS, build, rollout, tiny_config

from dppo_rllib.algorithms.iteration_data import flatten_rows
from dppo_rllib.modules import exact_diffusion_policy
from dppo_rllib.rollouts.evaluation import policy_act


def test_a_rollout_holds_its_pictures_once() -> None:
    config = tiny_config("pictures").environment(env_config={"image_size": 48})
    learner, runner = build(config.env_runners(rollout_fragment_length=60))
    rollout(learner, runner)
    tracemalloc.start()
    trajectories = rollout(learner, runner, iteration=1)
    # Traced are NumPy's arrays, in which environments show them: no more than a few at a time.
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trajectories.obs["rgb"].nbytes > 0.9 * trajectories.nbytes
    assert peak < 0.2 * trajectories.nbytes
    rgb = trajectories.obs["rgb"]
    assert rgb.untyped_storage().nbytes() == rgb.nbytes
    assert np.shares_memory(trajectories.on_host().obs["rgb"], rgb.numpy())


def test_a_learner_in_the_same_process_takes_the_memory_of_the_runner() -> None:
    learner, runner = build(tiny_config("pictures"))
    trajectories = rollout(learner, runner)
    rows = flatten_rows(trajectories, torch.device("cpu"))
    for name, made in (
        ("chains", trajectories.chains),
        ("log_probs", trajectories.log_probs),
        ("obs.rgb", trajectories.obs["rgb"]),
        ("obs.state", trajectories.obs["state"]),
    ):
        assert rows[name].data_ptr() == made.data_ptr()


def test_a_learner_elsewhere_gets_arrays() -> None:
    learner, runner = build(tiny_config("pictures"))
    runner.worker_index = 1
    ray.init(address="local", num_cpus=1, include_dashboard=False, ignore_reinit_error=True)
    try:
        reference: Any = rollout(learner, runner)
        made = ray.get(reference)
        dicts = (made.obs, made.next_obs, made.final_obs)
        bulk = (made.chains, made.log_probs, *(v for d in dicts for v in d.values()))
        assert all(isinstance(array, np.ndarray) for array in bulk)
        assert made.chains.shape[:2] == made.reward.shape == (CHUNKS, ENVS)
    finally:
        ray.shutdown()


def test_the_ode_is_solved_to_learn_and_not_to_evaluate(monkeypatch: pytest.MonkeyPatch) -> None:
    learner, runner = build(tiny_config("exact"))
    solved = count_calls(monkeypatch, exact_diffusion_policy, "exact_log_likelihood")
    rollout(learner, runner)
    assert len(solved) == CHUNKS
    runner.sample(num_episodes=2)
    policy = runner.module.policy
    act = policy_act(policy, deterministic=False)
    act({"state": np.zeros((ENVS, 1, 1), np.float32)})
    assert len(solved) == CHUNKS


def count_calls(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[int]:
    """A list that grows with every call of a function of a module."""
    calls, original = [], getattr(module, name)

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, counted)
    return calls
