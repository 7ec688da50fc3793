"""The vector environment: episodes, seeds, faults."""

from dataclasses import replace

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

from dppo_rllib.environments.furniture import env_id, vector_env
from dppo_rllib.environments.furniture.scene import BASE, PHYSICS_STEPS
from dppo_rllib.environments.furniture.starts import draw
from dppo_rllib.environments.furniture.vector_env import FurnitureVectorEnv
from dppo_rllib.environments.rotations import rows_of_matrix


@pytest.fixture
def make(closing):
    return lambda *args, **kwargs: closing(FurnitureVectorEnv(*args, **kwargs))


def still(envs, gripper=-1.0):
    """Actions that leave the hand where it is."""
    hand = envs.hand()
    actions = np.full((envs.num_envs, 10), gripper, np.float32)
    actions[:, :3], actions[:, 3:9] = hand.position, rows_of_matrix(hand.rotation)
    return actions


def lowered(envs):
    actions = still(envs, gripper=1.0)
    actions[:, 2] -= 0.05
    return actions


def test_an_episode_follows_from_its_seed_alone(make):
    several, single = make("one_leg", num_envs=3, num_threads=2), make("one_leg")
    first, _ = several.reset(seed=5)
    second, _ = single.reset(seed=7)
    np.testing.assert_array_equal(first[2], second[0])
    assert not np.allclose(first[0], first[1])
    for _ in range(3):
        first = several.step(lowered(several))[0]
        second = single.step(lowered(single))[0]
        np.testing.assert_array_equal(first[2], second[0])


def test_tensors_and_arrays_hold_the_same(make):
    arrays, tensors = make("lamp", num_envs=2), make("lamp", num_envs=2)
    tensors.as_tensors = True
    np.testing.assert_array_equal(tensors.reset(seed=1)[0], arrays.reset(seed=1)[0])
    for _ in range(2):
        action = lowered(arrays)
        seen, *_ = tensors.step(torch.from_numpy(action))
        np.testing.assert_array_equal(seen, arrays.step(action)[0])
        assert isinstance(seen, torch.Tensor) and seen.dtype == torch.float32


def test_what_was_seen_stays_as_it_was(make):
    envs = make("one_leg")
    envs.as_tensors = True
    first, _ = envs.reset(seed=1)
    kept = first.clone()
    envs.step(lowered(envs))
    assert torch.equal(first, kept)


def test_an_observation_says_where_things_are(make):
    envs = make("one_leg")
    envs.reset(seed=0)
    for _ in range(3):
        seen = envs.step(lowered(envs))[0][0]
    data, model = envs.simulation.datas[0], envs.simulation.scene.model
    mujoco.mj_forward(model, data)
    hand = data.body("k_ee_link")
    np.testing.assert_allclose(seen[:3], hand.xpos - BASE, atol=1e-6)
    np.testing.assert_allclose(seen[3:9], hand.xmat[:6], atol=1e-6)
    velocity = np.zeros(6)
    mujoco.mj_objectVelocity(
        model, data, mujoco.mjtObj.mjOBJ_BODY, model.body("k_ee_link").id, velocity, 0
    )
    # MuJoCo's frame of a body is that of its mass; this one's has none.
    np.testing.assert_allclose(seen[12:15], velocity[:3], atol=1e-5)
    assert seen[15] == pytest.approx(data.qpos[7] + data.qpos[8], abs=1e-6)
    assert seen[-7:-4] == pytest.approx(
        [data.mocap_pos[0, 1], data.mocap_pos[0, 0] - 0.0015, -0.015]
    )


def test_physics_is_mujocos_own(make):
    """Under the same servo targets a copy goes where a scene of its own would."""
    envs = make("round_table", num_envs=2, num_threads=2)
    envs.reset(seed=3)
    model = envs.simulation.scene.model
    alone = mujoco.MjData(model)
    mujoco.mj_copyData(alone, model, envs.simulation.datas[1])
    for _ in range(3):
        envs.step(lowered(envs))
        alone.ctrl[:] = envs.simulation.datas[1].ctrl
        mujoco.mj_step(model, alone, PHYSICS_STEPS)
    np.testing.assert_array_equal(alone.qpos, envs.simulation.positions[1])


def test_time_terminates_and_what_has_ended_stands_still(make):
    envs = make("one_leg", num_envs=2, max_episode_steps=2)
    envs.reset(seed=0)
    ends = [envs.step(still(envs))[2:4] for _ in range(2)]
    assert not ends[0][0].any() and ends[1][0].all()
    assert not ends[0][1].any() and not ends[1][1].any()
    before = envs.simulation.positions.clone()
    envs.step(lowered(envs))
    np.testing.assert_array_equal(before, envs.simulation.positions)
    envs.reset(options={"reset_mask": np.array([False, True])})
    _, _, terminated, _, _ = envs.step(lowered(envs))
    np.testing.assert_array_equal(before[0], envs.simulation.positions[0])
    assert not np.array_equal(before[1], envs.simulation.positions[1])
    assert not terminated[1]


@pytest.mark.parametrize("fault", ["nan", "flung"])
def test_a_copy_that_is_unstable_is_cut_and_its_numbers_are_not_seen(make, fault):
    envs = make("one_leg", num_envs=2)
    first, _ = envs.reset(seed=0)
    at = envs.simulation.scene.part_velocities[4]
    envs.simulation.datas[0].qvel[at : at + 3] = np.nan if fault == "nan" else 400.0
    seen, rewards, terminated, truncated, infos = envs.step(still(envs))
    assert infos["invalid"].tolist() == truncated.tolist() == [True, False]
    assert not terminated.any() and not rewards.any()
    assert np.isfinite(seen).all()
    np.testing.assert_array_equal(seen[0], first[0])


def test_a_start_that_is_unstable_is_drawn_anew(make, monkeypatch):
    spoiled = []

    def spoiling(*args):
        start = draw(*args)
        if not spoiled:
            spoiled.append(start)
            start.wrenches[1, 2] = np.nan
        return start

    monkeypatch.setattr(vector_env, "draw", spoiling)
    envs = make("one_leg", num_envs=2)
    seen, _ = envs.reset(seed=0)
    assert spoiled and np.isfinite(seen).all()
    assert not np.array_equal(envs.simulation.datas[0].mocap_pos[0], spoiled[0].obstacle)
    assert not envs.step(still(envs))[4]["invalid"].any()


def test_copies_that_are_unstable_however_they_begin_are_named(make, monkeypatch):
    monkeypatch.setattr(vector_env, "_MAX_DRAWS", 2)
    envs = make("one_leg", num_envs=2)

    def broken(*args):
        return replace(draw(*args), joints=np.full(7, np.nan))

    monkeypatch.setattr(vector_env, "draw", broken)
    with pytest.raises(RuntimeError, match=r"one_leg: copies \[0, 1\] were unstable .* 2 times"):
        envs.reset(seed=0)


def test_a_joined_pair_is_rewarded_once(make):
    envs = make("one_leg")
    envs.reset(seed=0)
    for _ in range(15):  # until the pushed parts lie still
        envs.step(still(envs))
    sim, (top, leg) = envs.simulation, (envs.simulation.scene.parts[i] for i in (0, 4))
    rewards = []
    for there in (False, True, True):
        data = sim.datas[0]
        if there:
            data.qpos[leg : leg + 3] = data.qpos[top : top + 3] + [-0.05625, 0.05625, 0.048]
            data.qpos[leg + 3 : leg + 7] = data.qpos[top + 3 : top + 7]
            data.qvel[:] = 0
        _, reward, _, _, infos = envs.step(still(envs))
        rewards.append((float(reward[0]), bool(infos["success"][0]), int(infos["joined"][0])))
    assert rewards == [(0.0, False, 0), (1.0, True, 1), (0.0, True, 1)]


def held(envs):
    """Whether bulbs resist a push, tried on copies of the states."""
    sim, pushed = envs.simulation, []
    model, at = sim.scene.model, sim.scene.part_velocities[1]
    for data in sim.datas:
        copy = mujoco.MjData(model)
        mujoco.mj_copyData(copy, model, data)
        copy.qvel[at + 2] = 0.5
        mujoco.mj_step(model, copy, PHYSICS_STEPS // 2)
        pushed.append(abs(copy.qpos[sim.scene.held + 2] - data.qpos[sim.scene.held + 2]))
    return [bool(shift < 4e-3) for shift in pushed]


def test_the_bulb_stays_until_the_hand_comes_near_or_half_time(make):
    """Of the benchmark's time, however long episodes may be here."""
    envs = make("lamp", num_envs=2, max_episode_steps=2000)
    envs.reset(seed=0)
    start = envs.poses()[:, 1, :3].clone()
    actions = still(envs)
    actions[0, :3] = start[0] - torch.as_tensor(BASE) + torch.tensor([0, 0, 0.02])
    for _ in range(6):
        envs.step(actions)
    assert held(envs)[1]
    assert (envs.poses()[1, 1, :3] - start[1]).norm() < 1e-3
    assert not held(envs)[0]
    envs._steps[1] = 500
    envs.step(still(envs))
    assert held(envs)[1]
    envs.step(still(envs))
    assert held(envs) == [False, False]


def test_one_environment_is_a_copy_of_many(make, closing):
    single = closing(gymnasium.make(env_id("lamp", "med")))
    many = make("lamp", "med")
    first, _ = single.reset(seed=4)
    second, _ = many.reset(seed=[4])
    np.testing.assert_array_equal(first, second[0])
    action = still(many)
    seen, reward, terminated, truncated, facts = single.step(action[0])
    np.testing.assert_array_equal(seen, many.step(action)[0][0])
    assert (reward, terminated, truncated) == (0.0, False, False)
    assert facts == {"success": False, "joined": 0}


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"randomness": "high"}, r"randomness='high': expected one of \['low', 'med'\]"),
        ({"num_envs": 0}, "num_envs=0: expected at least 1"),
        ({"num_threads": 0}, "num_threads=0"),
        ({"max_episode_steps": -1}, "max_episode_steps=-1"),
        ({"render_mode": "human"}, "render_mode='human'"),
    ],
)
def test_bad_arguments_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        FurnitureVectorEnv("one_leg", **kwargs)
