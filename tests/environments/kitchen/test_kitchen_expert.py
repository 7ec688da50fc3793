"""The scripted expert of the kitchen, in the simulation."""

import numpy as np
import pytest
from recordings import record_all

from dppo_rllib.datasets.scripted import ScriptedExpert
from dppo_rllib.environments.kitchen.expert import KitchenExpert
from dppo_rllib.environments.kitchen.routes import ROUTES
from dppo_rllib.environments.kitchen.vector_env import KitchenVectorEnv

COMPLETE = ("microwave", "kettle", "light switch", "slide cabinet")
MIXED = ("microwave", "kettle", "bottom burner", "light switch")


def done_within(subtasks, copies, steps, imperfection=1.0):
    """In how many copies an expert does all subtasks."""
    env = KitchenVectorEnv(copies, subtasks=subtasks)
    rows = np.arange(copies)
    env.reset(seed=rows.tolist())
    expert = KitchenExpert(env, imperfection)
    expert.begin(rows, [np.random.default_rng(row) for row in rows.tolist()])
    for _ in range(steps):
        *_, infos = env.step(expert.act(rows))
        if infos["success"].all():
            break
    env.close()
    return int(infos["success"].sum())


@pytest.mark.parametrize("subtask", ROUTES)
def test_it_does_each_subtask(subtask):
    assert done_within([subtask], copies=2, steps=90, imperfection=0.0) == 2


@pytest.mark.slow
@pytest.mark.parametrize("subtasks, least", [(COMPLETE, 6), (MIXED, 3)])
def test_it_does_one_after_the_other_more_often_than_not(subtasks, least):
    assert done_within(subtasks, copies=12, steps=KitchenExpert.max_steps) >= least


def test_recorded_episodes_end_with_the_last_subtask():
    env = KitchenVectorEnv(3, subtasks=["light switch"])
    recording = record_all(env, KitchenExpert(env), episodes=3, seed=1)
    demos = recording.demonstrations
    last = demos.episode_starts + demos.episode_lengths - 1
    assert demos.terminated[last].all() and demos.terminated.sum() == 3
    assert not demos.truncated.any()
    assert (demos.success == demos.terminated).all()
    assert demos.rewards[last].tolist() == [1, 1, 1] and demos.rewards.sum() == 3
    assert demos.observations.shape[1] == 60 and demos.fps == 12.5
    assert np.abs(demos.actions).max() <= 1
    env.close()


def test_it_is_a_scripted_expert_whose_fingers_are_not_disturbed():
    env = KitchenVectorEnv(1)
    expert = KitchenExpert(env)
    assert isinstance(expert, ScriptedExpert)
    assert expert.noise_scale.tolist() == [1] * 7 + [0] * 2
    with pytest.raises(ValueError, match="imperfection=-1"):
        KitchenExpert(env, -1.0)
    env.close()


def test_subtasks_that_it_cannot_do_are_named():
    env = KitchenVectorEnv(1, subtasks=["kettle", "hinge cabinet"])
    with pytest.raises(ValueError, match=r"subtasks=\['hinge cabinet'\]: expected some of"):
        KitchenExpert(env)
    env.close()
