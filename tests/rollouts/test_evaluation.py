"""Whole episodes: fair shares, right sums, honest intervals."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from scipy.stats import binomtest

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.checkpoints.evaluation import evaluate_policy, make_env
from dppo_rllib.environments import make_chunked_env
from dppo_rllib.rollouts import run_episodes, success_interval
from dppo_rllib.rollouts.evaluation import repeat_episode
from dppo_rllib.tasks import HOPPER_MEDIUM


class Uneven(gymnasium.Env):
    """Episodes of 2 or 20 steps, by the seed; long ones succeed."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict]:
        super().reset(seed=seed)
        self._length = int(self.np_random.choice([2, 20]))
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict]:
        self._steps += 1
        over = self._steps >= self._length
        return np.zeros(1, np.float32), 1.0, over, False, {"success": over and self._length == 20}


def run(episodes: int, envs: int = 8) -> Any:
    env = make_chunked_env(Uneven, envs, act_steps=4, cond_steps=1)
    return run_episodes(env, lambda obs: np.zeros((envs, 4, 1), np.float32), episodes, seed=0)


def test_exactly_the_asked_number_of_episodes_is_counted() -> None:
    for episodes in (1, 7, 8, 21):
        assert len(run(episodes).returns) == episodes


def test_short_episodes_are_not_counted_more_often() -> None:
    # Counting whichever episodes end first would find nine short ones for each long one.
    results = run(400)
    assert 0.4 < np.mean(results.lengths == 20) < 0.6


def test_returns_and_lengths_belong_to_the_same_episode() -> None:
    results = run(40)
    np.testing.assert_array_equal(results.returns, results.lengths)
    np.testing.assert_array_equal(results.successes, results.lengths == 20)


def test_the_summary_holds_the_wilson_interval() -> None:
    results = run(40)
    summary = results.summary()
    interval = binomtest(int(results.successes.sum()), 40).proportion_ci(method="wilson")
    assert (
        summary["success_rate_low"]
        == interval.low
        == success_interval(int(results.successes.sum()), 40)[0]
    )
    assert summary["episodes"] == 40


def test_no_episodes_cannot_be_run() -> None:
    with pytest.raises(ValueError, match="num_episodes=0"):
        run(0)


def test_the_first_episode_is_that_of_environment_0() -> None:
    first = run(9).first
    steps = 20 if first.success else 2
    assert first.total_reward == steps
    assert first.chunks.shape == (-(-steps // 4), 4, 1)


@pytest.fixture
def hopper() -> Any:
    assert HOPPER_MEDIUM.base_policy is not None
    return load_policy(HOPPER_MEDIUM.base_policy)


def test_an_episode_of_an_evaluation_can_be_repeated_alone(hopper: Any) -> None:
    """As a video does, which shows it."""

    def envs(number: int) -> Any:
        return make_env(hopper, number, env="Hopper-v5", max_episode_steps=60)

    together, alone = envs(3), envs(1)
    results = evaluate_policy(hopper, together, 4, seed=5)
    for result in results.values():
        again = repeat_episode(alone, result.first, seed=5)
        assert again.total_reward == result.first.total_reward > 0
        assert again.success is result.first.success is None
        np.testing.assert_array_equal(again.chunks, result.first.chunks)
        assert result.first.total_reward in result.returns
    other = repeat_episode(alone, results["stochastic"].first, seed=6)
    assert other.total_reward != results["stochastic"].first.total_reward
    together.close()
    alone.close()
