"""Training, evaluation and videos mean the same by success, on a real simulator."""

import gymnasium
import numpy as np
import pytest
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

pytest.importorskip("robosuite")

from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.robomimic.experts import make_expert
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv
from dppo_rllib.rollouts.episode_metrics import SUCCESS_RATE, EpisodeMetrics
from dppo_rllib.rollouts.evaluation import run_episodes

N, TA, STEPS, SEED = 4, 4, 60, 3


@pytest.fixture(scope="module")
def played():
    """Actions `[N, STEPS, 7]` of an expert that errs, and in which copies it succeeded."""
    env = RobomimicVectorEnv("lift", N, max_episode_steps=STEPS)
    env.reset(seed=SEED)
    expert, rows = make_expert(env, imperfection=4.0), np.arange(N)
    expert.begin(rows, [np.random.default_rng(i) for i in range(N)])
    actions, success = [], np.zeros(N, bool)
    for _ in range(STEPS):
        actions.append(expert.act(rows).astype(np.float32))
        success |= env.step(actions[-1])[4]["success"]
    env.close()
    assert 0 < success.sum() < N
    return np.stack(actions, axis=1), success


def chunked(num_envs):
    return make_chunked_env(
        "dppo_rllib/Lift-v0", num_envs, act_steps=TA, cond_steps=1, max_episode_steps=STEPS
    )


def test_evaluation_counts_the_episodes_in_which_the_task_was_solved(played):
    actions, success = played
    env, steps = chunked(N), iter(range(0, STEPS, TA))

    def act(_):
        step = next(steps)
        return actions[:, step : step + TA]

    results = run_episodes(env, act, N, seed=SEED)
    np.testing.assert_array_equal(results.successes, success)
    assert (results.returns > 0).tolist() == success.tolist()
    env.close()


def test_training_reports_the_same_rate(played):
    actions, success = played
    env, logger = chunked(N), MetricsLogger()
    metrics = EpisodeMetrics(logger, N, window=N)
    env.reset(seed=SEED)
    for step in range(0, STEPS, TA):
        _, reward, terminated, truncated, infos = env.step(actions[:, step : step + TA])
        metrics.step(reward, terminated | truncated, infos)
    assert logger.peek(SUCCESS_RATE) == success.mean()
    env.close()


def test_what_a_video_would_show_succeeds_where_they_say_so(played):
    """A video is made of a single copy, with the seed of its episode."""
    actions, success = played
    env = gymnasium.make("dppo_rllib/Lift-v0", max_episode_steps=STEPS)
    for i in range(N):
        env.reset(seed=SEED + i)
        shown = [env.step(action)[4]["success"] for action in actions[i]]
        assert any(shown) == success[i]
    env.close()
