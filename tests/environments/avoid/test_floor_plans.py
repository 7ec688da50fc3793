"""What trajectories over a floor plan come to."""

import numpy as np
import pytest

from dppo_rllib.environments.avoid import ENV_ID
from dppo_rllib.environments.avoid.demonstrator import Demonstrator
from dppo_rllib.environments.avoid.vector_env import AvoidVectorEnv
from dppo_rllib.environments.floor_plans import floor_plan

PLAN = floor_plan(ENV_ID)


def named(trajectory):
    return PLAN.outcomes[PLAN.outcome(np.float32(trajectory))]


@pytest.mark.parametrize("way", [5, 6, 7, 8])
def test_ways_are_recognised_in_demonstrations(way):
    env = AvoidVectorEnv(1)
    obs, _ = env.reset()
    expert, rows = Demonstrator(env, (way,), 0.0), np.arange(1)
    expert.begin(rows, [np.random.default_rng(0)])
    trajectory = [obs[0], *(env.step(expert.act(rows))[0][0] for _ in range(110))]
    assert named(trajectory) == f"way {way}"
    x, y = PLAN.columns
    assert trajectory[-1][y] > PLAN.line
    places = np.array(trajectory)[:, [x, y]]
    assert (places > PLAN.corner).all() and (places < PLAN.opposite).all()


def test_touching_a_pillar_goes_before_everything_else():
    """The rod is seen to touch wherever the environment punishes it."""
    generator = np.random.default_rng(0)
    outcomes = set()
    for seed in range(30):
        env = AvoidVectorEnv(1, start_noise=0.02)
        obs, _ = env.reset(seed=seed)
        trajectory, punished = [obs[0]], False
        for _ in range(120):
            action = np.float32([[generator.normal(0, 0.01), 0.008]])
            obs, reward, *_ = env.step(action)
            trajectory.append(obs[0])
            punished |= bool(reward[0] < 0)
        outcome = named(trajectory)
        outcomes.add(outcome)
        assert (outcome == "touches a pillar") == punished
    assert len(outcomes) > 1


def test_where_the_last_row_is_not_reached_it_is_stuck():
    assert named([[0.525, -0.28, 0.525, -0.28]] * 5) == "gets stuck"


def test_environments_without_a_plan_are_refused():
    with pytest.raises(ValueError, match=r"env=Hopper-v5: its trajectories cannot be drawn"):
        floor_plan("Hopper-v5")
