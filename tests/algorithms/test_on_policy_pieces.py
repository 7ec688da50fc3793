"""Reward scaling, schedules, advantages and clip ranges, piece by piece."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo_rllib.algorithms.advantages import generalized_advantages
from dppo_rllib.algorithms.ppo_loss import clip_ranges, denoising_discounts, policy_loss
from dppo_rllib.algorithms.reward_scaling import RunningRewardScaler
from dppo_rllib.algorithms.schedules import (
    CosineWarmup,
    check_schedule,
    step_value_at,
    value_at,
)

LEARNING_RATES = {
    "gym_pre": CosineWarmup(max_lr=1e-3, min_lr=1e-4, warmup_steps=1, cycle_steps=200),
    "ft_const": CosineWarmup(max_lr=1e-4, min_lr=1e-4, warmup_steps=10, cycle_steps=1000),
    "short": CosineWarmup(max_lr=1e-3, min_lr=1e-5, warmup_steps=5, cycle_steps=20),
    "nowarm": CosineWarmup(max_lr=1.0, min_lr=0.0, warmup_steps=0, cycle_steps=10),
}


@pytest.mark.parametrize("name", LEARNING_RATES)
def test_learning_rates_are_those_of_the_authors(name: str, golden: Any) -> None:
    rates = [LEARNING_RATES[name](i) for i in range(61)]
    np.testing.assert_allclose(rates, golden[f"lr/{name}"], rtol=1e-6, atol=1e-12)


def test_reward_scaling_is_that_of_the_authors(golden: Any) -> None:
    scaler = RunningRewardScaler(gamma=0.99)
    for call in range(4):
        prefix = f"rscale/per_env0/{call}"
        reward, first = golden[f"{prefix}/reward"].T, golden[f"{prefix}/first"].T.astype(bool)
        scaled = scaler(np.ascontiguousarray(reward), first, np.arange(3))
        np.testing.assert_allclose(scaled, golden[f"{prefix}/out"].T, rtol=1e-9)
        np.testing.assert_allclose(scaler.variance, golden[f"{prefix}/var"], rtol=1e-9)
        np.testing.assert_allclose(scaler.mean, golden[f"{prefix}/mean"], rtol=1e-9)
        np.testing.assert_allclose(list(scaler.sums.values()), golden[f"{prefix}/ret"], rtol=1e-9)


def test_reward_scaling_goes_on_from_its_state() -> None:
    rng = np.random.default_rng(0)
    rewards, first = rng.normal(size=(2, 5, 3)), rng.random((2, 5, 3)) < 0.2
    whole, resumed = RunningRewardScaler(0.9), RunningRewardScaler(0.9)
    whole(rewards[0], first[0], np.arange(3))
    resumed.set_state(whole.get_state())
    np.testing.assert_array_equal(
        whole(rewards[1], first[1], np.arange(3)), resumed(rewards[1], first[1], np.arange(3))
    )


@settings(max_examples=50)
@given(seed=st.integers(0, 2**31), steps=st.integers(1, 12), envs=st.integers(1, 4))
def test_advantages_never_cross_episodes(seed: int, steps: int, envs: int) -> None:
    generator = torch.Generator().manual_seed(seed)

    def draw() -> torch.Tensor:
        return torch.randn((steps, envs), generator=generator, dtype=torch.float64)

    def flags() -> torch.Tensor:
        return torch.rand((steps, envs), generator=generator) < 0.25

    reward, values, next_values, terminated, truncated = draw(), draw(), draw(), flags(), flags()
    whole = generalized_advantages(
        reward, values, next_values, terminated, truncated, gamma=0.9, lambda_=0.8
    )
    for n in range(envs):
        expected = 0.0
        for t in reversed(range(steps)):
            ends = bool(terminated[t, n] or truncated[t, n])
            after = 0.0 if terminated[t, n] else float(next_values[t, n])
            delta = float(reward[t, n]) + 0.9 * after - float(values[t, n])
            expected = delta + (0.0 if ends else 0.9 * 0.8 * expected)
            assert float(whole[t, n]) == pytest.approx(expected)


def test_clip_range_grows_from_the_noisiest_step_to_the_last() -> None:
    ranges = clip_ranges(10, 0.1, 0.01, 3.0)
    assert float(ranges[0]) == pytest.approx(0.01)
    assert float(ranges[-1]) == pytest.approx(0.1)
    assert torch.all(ranges.diff() > 0)


def test_a_single_fine_tuned_step_has_the_clip_range_of_the_last() -> None:
    assert clip_ranges(1, 0.1, 0.01, 3.0).tolist() == pytest.approx([0.1])


def test_the_last_denoising_step_is_not_discounted() -> None:
    np.testing.assert_allclose(denoising_discounts(3, 0.9), [0.81, 0.9, 1.0], rtol=1e-6)


def test_equal_log_probabilities_have_ratio_one_and_are_not_clipped() -> None:
    log_probs, advantages = torch.randn(8), torch.randn(8)
    terms = policy_loss(log_probs, log_probs, advantages, torch.full((8,), 0.01))
    assert torch.equal(terms.ratio, torch.ones(8))
    assert torch.equal(terms.loss, -advantages)
    assert not terms.clipped.any() and not terms.approx_kl.any()


def test_schedules_interpolate_or_hold() -> None:
    assert value_at([[0, 0.2], [10, 0.1]], 5) == pytest.approx(0.15)
    assert value_at(0.3, 5) == 0.3
    assert [step_value_at([[0, 10], [5, 6]], i) for i in (0, 4, 5, 9)] == [10, 10, 6, 6]


@pytest.mark.parametrize("schedule", [[], [[1, 0.1]], [[0, 1], [0, 2]], [[0, 1, 2]]])
def test_a_malformed_schedule_is_refused_by_name(schedule: Any) -> None:
    with pytest.raises(ValueError, match="min_sampling_denoising_std"):
        check_schedule("min_sampling_denoising_std", schedule)
