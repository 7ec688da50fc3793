"""Avoid as environments."""

import gymnasium
import numpy as np
import pytest

from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.avoid import ENV_ID, MAX_EPISODE_STEPS
from dppo_rllib.environments.avoid.demonstrator import Demonstrator
from dppo_rllib.environments.avoid.table import PILLARS
from dppo_rllib.environments.avoid.vector_env import AvoidEnv, AvoidVectorEnv

ALL = slice(None)


def walk(env, way, steps=130):
    """What a demonstrator by some way is shown, step by step."""
    env.reset(seed=0)
    expert, rows = Demonstrator(env, (way,), imperfection=0.0), np.arange(env.num_envs)
    expert.begin(rows, [np.random.default_rng(row) for row in rows.tolist()])
    return [env.step(expert.act(rows)) for _ in range(steps)]


def test_spaces_are_those_of_the_benchmark():
    env = AvoidVectorEnv(3)
    assert env.single_action_space == gymnasium.spaces.Box(-0.01, 0.01, (2,), np.float32)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    np.testing.assert_allclose(obs, [[0.525, -0.28, 0.525, -0.28]] * 3, rtol=1e-6)


def test_observations_are_where_the_rod_shall_be_and_where_it_is():
    env = AvoidVectorEnv(1)
    env.reset()
    for _ in range(3):
        obs, *_ = env.step(np.array([[0.002, 0.01]], np.float32))
    np.testing.assert_allclose(obs[0, :2], [0.531, -0.25], rtol=1e-5)
    position = env.rods.position[0]
    np.testing.assert_allclose(obs[0, 2:], [position.real, position.imag], rtol=1e-6)
    assert obs[0, 3] < obs[0, 1]


@pytest.mark.parametrize("asked", [5, 6, 7, 8])
def test_the_way_asked_for_and_the_finish_line_are_worth_1_each(asked):
    env = AvoidVectorEnv(1, way=asked)
    for taken in (5, 6, 7, 8):
        for obs, reward, _, truncated, infos in walk(env, taken):
            on_the_way = infos["ways"][0, 2] == asked
            beyond = obs[0, 3] > 0.4
            assert reward[0] == float(on_the_way) + float(beyond)
            assert infos["finished"][0] == beyond
            assert infos["success"][0] == (beyond and on_the_way)
            assert not truncated.any()
        assert infos["ways"][0].tolist() == [1, 2, taken]
        assert infos["success"][0] == (taken == asked) and infos["finished"][0]


def test_where_no_way_is_asked_for_the_line_alone_counts():
    *_, (_, reward, _, _, infos) = walk(AvoidVectorEnv(1, way=None), 7)
    assert reward[0] == 1 and infos["success"][0]


def test_a_touch_is_punished_for_good():
    env = AvoidVectorEnv(1, way=None, max_episode_steps=200)
    env.reset()
    touched = False
    for step in range(200):
        # Into the first pillar, then back and around it.
        towards = PILLARS[0] if step < 30 else 0.65 - 0.1j if step < 80 else 0.65 + 0.6j
        change = towards - env.rods.desired[0]
        action = np.clip([[change.real, change.imag]], -0.01, 0.01).astype(np.float32)
        obs, reward, _, _, infos = env.step(action)
        touched |= reward[0] < 0
        assert (reward[0] == np.float32(-0.1)) == touched
        assert not (touched and infos["finished"][0])
    assert touched and obs[0, 3] > 0.4


@pytest.mark.parametrize("place", [0.19 - 0.28j, 0.803])
def test_outside_of_the_table_is_punished_while_it_lasts(place):
    env = AvoidVectorEnv(1)
    env.reset()
    env.rods.place(ALL, np.array([place + 0j]))
    assert env.step(np.zeros((1, 2)))[1][0] == np.float32(-0.1)
    env.rods.place(ALL, np.array([0.5 - 0.28j]))
    assert env.step(np.zeros((1, 2)))[1][0] == 0


@pytest.mark.parametrize("simulator", ["planar", "mujoco"])
def test_ended_episodes_stand_still_until_they_are_reset(simulator):
    env = AvoidVectorEnv(3, max_episode_steps=4, start_noise=0.01, simulator=simulator)
    env.reset(seed=0)
    actions = np.full((3, 2), 0.01, np.float32)
    for step in range(4):
        obs, _, terminated, truncated, _ = env.step(actions)
        assert terminated.tolist() == [step == 3] * 3 and not truncated.any()
    np.testing.assert_array_equal(env.step(actions)[0], obs)
    again, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(again[[0, 2]], obs[[0, 2]])
    assert (again[1] != obs[1]).any()
    moved, _, terminated, _, _ = env.step(actions)
    assert (moved[1] != again[1]).any() and terminated.tolist() == [True, False, True]
    np.testing.assert_array_equal(moved[[0, 2]], obs[[0, 2]])


def test_episodes_start_apart_where_they_are_told_to():
    env = AvoidVectorEnv(200, start_noise=0.01)
    starts = env.reset(seed=3)[0][:, :2] - [0.525, -0.28]
    assert 0.008 < starts.std() < 0.012 and np.abs(starts).max() <= 0.0301
    np.testing.assert_array_equal(env.reset(seed=3)[0][:, :2] - [0.525, -0.28], starts)
    assert (env.reset()[0][:, :2] - [0.525, -0.28] != starts).all()


def test_single_environments_are_made_by_gymnasium():
    env = gymnasium.make(ENV_ID, way=7, start_noise=0.01)
    assert isinstance(env.unwrapped, AvoidEnv)
    obs, _ = env.reset(seed=8)
    np.testing.assert_array_equal(obs, AvoidVectorEnv(2, start_noise=0.01).reset(seed=7)[0][1])
    for step in range(MAX_EPISODE_STEPS):
        _, _, terminated, truncated, info = env.step(np.zeros(2, np.float32))
        assert not truncated and terminated == (step == MAX_EPISODE_STEPS - 1)
    assert not info["success"] and info["ways"].tolist() == [-1, -1, -1]


def test_chunks_of_the_task_report_success():
    env = make_chunked_env(ENV_ID, 2, act_steps=4, cond_steps=1)
    env.reset(seed=0)
    for _ in range(25):
        _, _, terminated, _, infos = env.step(np.zeros((2, 4, 2), np.float32))
    assert terminated.all() and infos["has_success"].all() and not infos["success"].any()


def test_pictures_show_the_rod():
    env = gymnasium.make(ENV_ID, render_mode="rgb_array")
    env.reset()
    before = env.render()
    for _ in range(30):
        env.step(np.array([0.0, 0.002], np.float32))
    after = env.render()
    assert before.shape == (400, 320, 3) and before.dtype == np.uint8
    blue = [
        np.argwhere((picture == [0x1F, 0x77, 0xB4]).all(axis=-1)).mean(axis=0)
        for picture in (before, after)
    ]
    assert blue[0][0] > blue[1][0] + 15  # upwards
    assert blue[0][1] == pytest.approx(blue[1][1], abs=10)
    with pytest.raises(ValueError, match="render_mode=None: expected 'rgb_array'"):
        AvoidVectorEnv(1).render()


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"num_envs": 0}, "num_envs=0: expected at least 1"),
        ({"way": 4}, r"way=4: expected one of \[5, 6, 7, 8\] or None"),
        ({"start_noise": -0.1}, "start_noise=-0.1: expected a number from 0"),
        ({"max_episode_steps": 0}, "max_episode_steps=0: expected at least 1"),
        ({"render_mode": "human"}, "render_mode='human': expected"),
        ({"simulator": "bullet"}, "simulator='bullet': expected 'planar' or 'mujoco'"),
    ],
)
def test_arguments_are_checked(kwargs, message):
    with pytest.raises(ValueError, match=message):
        AvoidVectorEnv(**kwargs)
