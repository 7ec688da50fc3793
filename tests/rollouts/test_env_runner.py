"""What a runner holds and computes while it samples."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from tiny_policies import CHUNKS, ENVS, build, rollout, tiny_config

from dppo_rllib.modules import exact_diffusion_policy
from dppo_rllib.rollouts.evaluation import policy_act


def test_a_rollout_holds_its_pictures_once() -> None:
    config = tiny_config("pictures").environment(env_config={"image_size": 48})
    learner, runner = build(config.env_runners(rollout_fragment_length=60))
    rollout(learner, runner)
    tracemalloc.start()
    trajectories = rollout(learner, runner, iteration=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert trajectories.obs["rgb"].nbytes > 0.9 * trajectories.nbytes
    assert peak < 1.2 * trajectories.nbytes


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
