"""Scripted demonstrations of Avoid."""

import numpy as np
import pytest
from recordings import record_all

from dppo_rllib.datasets.scripted import ScriptedExpert
from dppo_rllib.environments.avoid.demonstrator import Demonstrator
from dppo_rllib.environments.avoid.vector_env import AvoidVectorEnv


def record(ways, episodes=60, **kwargs):
    env = AvoidVectorEnv(8, max_episode_steps=130)
    expert = Demonstrator(env, ways, **kwargs)
    return record_all(env, expert, episodes=episodes, success="finished", seed=1)


def last_ways(demos):
    """By which way each demonstration passes the last row."""
    found = []
    for episode in np.split(demos.observations, demos.episode_starts[1:]):
        x = episode[np.argmax(episode[:, 3] >= 0.26), 2]
        found.append(5 + np.searchsorted([0.35, 0.5, 0.65], x))
    return np.array(found)


@pytest.mark.parametrize("other", [6, 7, 8])
def test_both_ways_are_shown_and_hardly_anything_is_touched(other):
    recording = record((5, other))
    demos = recording.demonstrations
    found = last_ways(demos)
    assert set(found.tolist()) == {5, other}
    assert 0.3 < (found == 5).mean() < 0.7
    assert recording.attempts <= 63
    assert np.abs(demos.actions).max() <= 0.01
    starts = demos.observations[demos.episode_starts]
    np.testing.assert_allclose(starts[:, :2], starts[:, 2:])


def test_most_demonstrations_cross_the_line_within_an_episode_of_the_task():
    lengths = record((5, 6)).demonstrations.episode_lengths
    assert lengths.max() <= 100


def test_curves_differ_as_much_as_they_are_told_to():
    def spread(imperfection):
        env = AvoidVectorEnv(30, max_episode_steps=130)
        env.reset(seed=0)
        expert, rows = Demonstrator(env, (5,), imperfection), np.arange(30)
        expert.begin(rows, [np.random.default_rng(row) for row in range(30)])
        return np.array([env.step(expert.act(rows))[0] for _ in range(50)])[-1].std(axis=0).max()

    assert spread(0.0) < 1e-6
    assert 0.003 < spread(1.0) < spread(2.0)


def test_it_is_a_scripted_expert_and_settings_out_of_range_are_refused():
    env = AvoidVectorEnv(1)
    assert isinstance(Demonstrator(env), ScriptedExpert)
    with pytest.raises(ValueError, match=r"ways=\[4, 5\]: expected some of \[5, 6, 7, 8\]"):
        Demonstrator(env, (4, 5))
    with pytest.raises(ValueError, match=r"ways=\[\]: expected some"):
        Demonstrator(env, ())
    with pytest.raises(ValueError, match="imperfection=-1"):
        Demonstrator(env, imperfection=-1)
