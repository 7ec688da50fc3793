"""The tasks as environments."""

import gymnasium
import numpy as np
import pytest
import torch
from fake_furniture import CRASH, NAN, NAN_REWARD
from gymnasium.vector import AutoresetMode
from named_fakes import fake

from dppo_rllib.environments import Normalization, make_chunked_env
from dppo_rllib.environments.furniture.isaac import HORIZONS, env_id
from dppo_rllib.environments.furniture.isaac.vector_env import IsaacVectorEnv

WIDTHS = {"one_leg": 58, "lamp": 44, "round_table": 44}


def asking(y, num_envs=3):
    """Actions that ask copy 1 of `Faulty` to fail somehow."""
    actions = np.zeros((num_envs, 10), np.float32)
    actions[1, 1] = y
    return actions


def two_rows(quaternion):
    """Of a rotation matrix, for (x, y, z, w): columns are what becomes of the axes."""
    xyz, w = quaternion[:3], quaternion[3]
    columns = [
        axis + 2 * np.cross(xyz, np.cross(xyz, axis) + w * axis) for axis in np.eye(3)
    ]  # v + 2 q × (q × v + w v)
    return np.stack(columns, axis=1)[:2].ravel()


@pytest.mark.parametrize("task, width", WIDTHS.items())
def test_states_are_laid_out_as_the_authors_have_them(task, width, python, make_envs):
    envs = make_envs(python, task=task)
    assert envs.single_observation_space.shape == (width,)
    assert envs.single_action_space == gymnasium.spaces.Box(-1, 1, (10,), np.float32)
    assert envs.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    obs, _ = envs.reset(seed=0)
    assert obs in envs.observation_space
    arrays = envs.client._process.arrays
    robot, parts = arrays["robot_state"], arrays["parts_poses"]
    np.testing.assert_array_equal(obs[:, :3], robot[:, :3])
    for row in range(3):
        expected = two_rows(robot[row, 3:7].astype(float))
        np.testing.assert_allclose(obs[row, 3:9], expected, atol=1e-6)
    np.testing.assert_array_equal(obs[:, 9:16], robot[:, 7:])
    np.testing.assert_array_equal(obs[:, 16:], parts)


def test_rewards_and_success_are_the_forks(python, make_envs, calm):
    envs = make_envs(python, task="lamp")
    envs.reset()
    forward = calm()
    forward[2, 0] = 1  # the next of two pairs
    seen = [envs.step(actions) for actions in (calm(), forward, calm(), forward, forward)]
    assert [reward.tolist() for _, reward, *_ in seen] == [[0, 0, r] for r in (0, 1, 0, 1, 0)]
    success = [infos["success"].tolist() for *_, infos in seen]
    assert success == [[False, False, s] for s in (False, False, False, True, True)]
    assert not any((terminated | truncated).any() for _, _, terminated, truncated, _ in seen)


def test_time_terminates_and_what_has_ended_stands_still(python, make_envs, calm):
    envs = make_envs(python, max_episode_steps=4)
    start, _ = envs.reset(seed=1)
    for step in range(1, 5):
        obs, _, terminated, truncated, infos = envs.step(calm() + 0.5)
        assert terminated.tolist() == [step == 4] * 3
        assert not truncated.any() and not infos["invalid"].any()
    again, reward, terminated, *_ = envs.step(calm() + 1)
    np.testing.assert_array_equal(again, obs)
    assert terminated.all() and not reward.any()
    mask = np.array([False, True, False])
    begun, _ = envs.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(begun[~mask], obs[~mask])
    assert (begun[mask] != obs[mask]).any() and (begun[mask] != start[mask]).any()
    moved, _, terminated, *_ = envs.step(calm())
    assert terminated.tolist() == [True, False, True]
    np.testing.assert_array_equal(moved[~mask], obs[~mask])
    assert (moved[mask] != begun[mask]).any()


def test_resets_of_others_do_not_show_in_a_copy_before_its_next_step(python, make_envs, calm):
    """The fork moves all copies on in a reset; the learner sees that as part of the step."""
    envs = make_envs(python)
    envs.reset()
    before, *_ = envs.step(calm())
    shown, _ = envs.reset(options={"reset_mask": np.array([True, False, False])})
    np.testing.assert_array_equal(shown[1:], before[1:])


def test_all_copies_follow_from_the_seeds_together(running, make_envs):
    envs = make_envs(running)
    first, _ = envs.reset(seed=5)
    later, _ = envs.reset()
    for seeds in (5, [5, 6, 7]):
        np.testing.assert_array_equal(envs.reset(seed=seeds)[0], first)
        np.testing.assert_array_equal(envs.reset(seed=[None] * 3)[0], later)
    for other in (6, [5, 6, 8]):
        assert (envs.reset(seed=other)[0] != first).all(axis=0).any()


@pytest.mark.parametrize("fault", [NAN, NAN_REWARD])
def test_a_copy_that_is_not_finite_is_cut_before_that_step(fault, python, make_envs, calm):
    envs = make_envs(python, "Faulty")
    envs.reset()
    before, *_ = envs.step(calm())
    obs, reward, terminated, truncated, infos = envs.step(asking(fault))
    assert infos["invalid"].tolist() == truncated.tolist() == [False, True, False]
    assert not terminated.any() and not reward.any()
    np.testing.assert_array_equal(obs[1], before[1])
    assert (obs[[0, 2]] != before[[0, 2]]).any(axis=1).all()
    *_, truncated, infos = envs.step(calm())
    assert truncated.tolist() == [False, True, False] and not infos["invalid"].any()
    envs.reset(options={"reset_mask": truncated})
    assert not envs.step(calm())[3].any()


def test_a_crash_cuts_all_episodes(python, make_envs, calm):
    envs = make_envs(python, "Faulty")
    envs.reset()
    before, *_ = envs.step(calm())
    obs, reward, terminated, truncated, infos = envs.step(asking(CRASH))
    assert infos["invalid"].all() and truncated.all()
    assert not terminated.any() and not reward.any()
    np.testing.assert_array_equal(obs, before)
    assert not envs.step(calm())[4]["invalid"].any()  # they are counted once
    envs.reset()
    assert not envs.step(calm())[3].any() and envs.client.failures == 1


def test_a_crash_in_a_reset_cuts_the_others_in_their_next_step(python, make_envs, calm):
    envs = make_envs(python, "CrashesInReset")
    envs.reset()
    before, *_ = envs.step(calm())
    mask = np.array([True, False, False])
    begun, _ = envs.reset(options={"reset_mask": mask})
    np.testing.assert_array_equal(begun[1:], before[1:])
    obs, _, _, truncated, infos = envs.step(calm())
    assert infos["invalid"].tolist() == truncated.tolist() == [False, True, True]
    np.testing.assert_array_equal(obs[1:], before[1:])
    assert (obs[0] != begun[0]).any()


def test_copies_that_a_reset_leaves_with_nan_are_reset_again(python, make_envs, calm):
    envs = make_envs(python, "NanAfterReset")
    obs, _ = envs.reset()
    assert np.isfinite(obs).all() and obs.any(axis=1).all()
    assert not envs.step(calm())[3].any()


def test_copies_that_are_never_finite_are_named(running, make_envs):
    envs = make_envs(running, "NanForEver")
    with pytest.raises(FloatingPointError, match=r"copies \[1\]: not finite after 3 resets"):
        envs.reset()


def test_in_chunks_failures_are_cut_and_counted(python, closing):
    """As the runner sees it; actions are as they are."""
    env = closing(
        make_chunked_env(
            "dppo_rllib/OneLegMedIsaac-v0",
            3,
            act_steps=4,
            cond_steps=2,
            env_kwargs={"python": python, "environment": fake("Faulty")},
        )
    )
    env.reset(seed=0)
    chunks = np.zeros((3, 4, 10), np.float32)
    before = env.step(chunks)[0]["state"]
    chunks[1, 2, 1] = NAN
    obs, _, terminated, truncated, infos = env.step(chunks)
    assert infos["invalid"].tolist() == truncated.tolist() == [False, True, False]
    assert infos["env_steps"].tolist() == [4, 2, 4]
    chunks[1, 2, 1] = 0
    chunks[0, 3, 1] = CRASH
    obs, _, terminated, truncated, infos = env.step(chunks)
    assert infos["invalid"].all() and truncated.all() and infos["env_steps"].tolist() == [3, 3, 3]
    assert np.isfinite(obs["state"]).all() and np.isfinite(before).all()
    *_, infos = env.step(np.zeros_like(chunks))
    assert not infos["invalid"].any() and infos["has_success"].all()


def test_the_authors_normalization_maps_states_and_actions(running, closing, tmp_path):
    stats = {
        "stats.observations.min": -2 * torch.ones(58),
        "stats.observations.max": 2 * torch.ones(58),
        "stats.actions.min": -0.5 * torch.ones(10),
        "stats.actions.max": torch.ones(10),
    }
    torch.save(stats, tmp_path / "normalization.pth")
    env = closing(
        make_chunked_env(
            "dppo_rllib/OneLegLowIsaac-v0",
            2,
            act_steps=1,
            cond_steps=1,
            normalization=Normalization.from_pth(tmp_path / "normalization.pth"),
            env_kwargs={"python": running, "environment": fake("FakeFurniture")},
        )
    )
    start, _ = env.reset(seed=0)
    obs, *_ = env.step(np.full((2, 1, 10), 0.5, np.float32))  # 0.625 as it is
    half_way = (2 * start["state"][:, 0, :3] + 0.625) / 2
    np.testing.assert_allclose(2 * obs["state"][:, 0, :3], half_way, atol=1e-5)


@pytest.mark.parametrize("task, horizon", HORIZONS.items())
@pytest.mark.parametrize("randomness", ["low", "med"])
def test_ids_know_their_task_and_horizon(task, horizon, randomness):
    spec = gymnasium.spec(env_id(task, randomness))
    assert spec.max_episode_steps == horizon
    assert spec.kwargs == {"task": task, "randomness": randomness}


def test_ids_are_words():
    assert env_id("round_table", "med") == "dppo_rllib/RoundTableMedIsaac-v0"


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"task": "desk"}, "task='desk': expected one of"),
        ({"randomness": "high"}, "randomness='high': expected one of"),
        ({"num_envs": 0}, "num_envs=0: expected at least 1"),
        ({"max_episode_steps": 0}, "max_episode_steps=0: expected at least 1"),
        ({"start_timeout_s": 0.0}, "start_timeout_s=0.0: expected more than 0"),
        ({"answer_timeout_s": -1.0}, "answer_timeout_s=-1.0: expected more than 0"),
        ({"silence_timeout_s": float("nan")}, "silence_timeout_s=nan: expected more than 0"),
        ({"render_mode": "rgb_array"}, "render_mode='rgb_array': expected None"),
    ],
)
def test_arguments_are_checked_before_anything_is_started(kwargs, message):
    given = {"task": "one_leg", "randomness": "low", "max_episode_steps": 9, **kwargs}
    with pytest.raises(ValueError, match=message):
        IsaacVectorEnv(python="/nowhere", **given)
