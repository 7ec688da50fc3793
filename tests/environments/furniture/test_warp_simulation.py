"""All worlds at once in MuJoCo Warp, against MuJoCo.

On a CPU too; what is compiled there the first time takes minutes.
"""

import numpy as np
import pytest
import torch

pytest.importorskip(
    "mujoco_warp", reason='mujoco_warp is not installed: pip install "dppo_rllib[furniture-warp]"'
)

from dppo_rllib.environments.furniture import vector_env, warp_simulation
from dppo_rllib.environments.furniture.experts import FurnitureExpert
from dppo_rllib.environments.furniture.scene import BASE
from dppo_rllib.environments.furniture.starts import draw
from dppo_rllib.environments.furniture.vector_env import FurnitureVectorEnv
from dppo_rllib.environments.rotations import rows_of_matrix

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def make(closing):
    def make(assembly, num_envs=2, simulator="mujoco_warp", **kwargs):
        envs = FurnitureVectorEnv(assembly, num_envs=num_envs, simulator=simulator, **kwargs)
        return closing(envs)

    return make


def still(envs):
    """Actions that leave the hand where it is, open."""
    hand = envs.hand()
    actions = np.full((envs.num_envs, 10), -1.0, np.float32)
    actions[:, :3] = hand.position.cpu()
    actions[:, 3:9] = rows_of_matrix(hand.rotation).cpu()
    return actions


def waving(start, step):
    """Actions that move hands by centimetres, and the gripper."""
    actions = start.copy()
    actions[:, 0] += 0.05 * np.sin(step / 3)
    actions[:, 1] += 0.05 * np.sin(step / 5)
    actions[:, 2] -= 0.03
    actions[:, 9] = 1 if step // 5 % 2 else -1
    return actions


def test_tensors_share_memory_with_the_worlds(make):
    sim = make("one_leg").simulation
    assert sim.positions.data_ptr() == sim._data.qpos.ptr
    assert sim.velocities.data_ptr() == sim._data.qvel.ptr


@pytest.mark.parametrize("name, turned", [("one_leg", 1e-5), ("lamp", 2e-4), ("round_table", 2e-4)])
def test_arms_and_what_lies_still_go_where_mujoco_has_them(make, name, turned):
    """Ten control steps from the same state: joints to 1e-5 rad, parts to 1e-5 m.

    Their quaternions to 1e-5, too, and to 2e-4 where what is round lies on the table.
    """
    plain, warp = make(name, simulator="mujoco"), make(name)
    for envs in (plain, warp):
        envs.reset(seed=3)
    for _ in range(20):  # until the pushed parts lie still
        plain.step(still(plain))
    warp.simulation.positions[:] = plain.simulation.positions.to(warp.simulation.positions)
    warp.simulation.velocities[:] = plain.simulation.velocities.to(warp.simulation.velocities)
    for row in range(2):  # a bulb is held where it came to rest
        data = plain.simulation.data(row)
        warp.simulation._mocap_positions[row] = torch.as_tensor(data.mocap_pos)
        warp.simulation._mocap_quats[row] = torch.as_tensor(data.mocap_quat)
    start = still(plain)
    for step in range(10):
        actions = waving(start, step)
        expected, _, _, _, _ = plain.step(actions)
        seen, _, _, _, _ = warp.step(actions)
        np.testing.assert_allclose(seen[:, :12], expected[:, :12], atol=1e-4)
        ours, theirs = warp.simulation.positions.cpu(), plain.simulation.positions
        torch.testing.assert_close(ours[:, :9].double(), theirs[:, :9], atol=1e-5, rtol=0)
        for at in plain.simulation.scene.parts:
            for part, atol in ((slice(at, at + 3), 1e-5), (slice(at + 3, at + 7), turned)):
                torch.testing.assert_close(
                    ours[:, part].double(), theirs[:, part], atol=atol, rtol=0
                )
    assert abs(expected[:, :2] - start[:, :2]).min() > 5e-3  # it did move


def test_pushed_parts_come_to_rest_about_where_mujoco_has_them(make):
    """What slides does so differently in single precision: within 5 mm."""
    plain, warp = make("one_leg", simulator="mujoco"), make("one_leg")
    first = plain.reset(seed=3)[0], warp.reset(seed=3)[0]
    np.testing.assert_allclose(first[1][:, :16], first[0][:, :16], atol=1e-5)
    np.testing.assert_allclose(first[1][:, -7:], first[0][:, -7:], atol=1e-6)
    for _ in range(10):
        last = plain.step(still(plain))[0], warp.step(still(warp))[0]
    shift = warp.poses()[:, :, :3].cpu().double() - plain.poses()[:, :, :3]
    assert shift.abs().max() < 5e-3
    assert shift[:, :, 2].abs().max() < 1e-4
    assert warp.simulation.velocities[:, 9:].abs().max() < 1e-2
    assert all(np.isfinite(seen).all() for seen in last)


def test_an_episode_follows_from_its_seed_alone(make):
    several, single = make("one_leg", num_envs=3), make("one_leg", num_envs=1)
    first, _ = several.reset(seed=5)
    second, _ = single.reset(seed=7)
    np.testing.assert_allclose(first[2], second[0], atol=1e-5)
    assert not np.allclose(first[0], first[1], atol=1e-3)
    for _ in range(3):
        first, second = several.step(still(several))[0], single.step(still(single))[0]
        np.testing.assert_allclose(first[2], second[0], atol=1e-5)


def test_what_has_ended_stands_still_while_others_start_and_go_on(make):
    envs = make("one_leg", max_episode_steps=2)
    envs.reset(seed=0)
    ends = [envs.step(still(envs))[2] for _ in range(2)]
    assert not ends[0].any() and ends[1].all()
    sim = envs.simulation
    before = [tensor.clone() for tensor in sim._state]
    start = still(envs)
    envs.reset(options={"reset_mask": np.array([False, True])})
    _, _, terminated, truncated, _ = envs.step(waving(start, 3))
    assert not terminated.any() and not truncated.any()
    for then, now in zip(before, sim._state, strict=True):
        assert torch.equal(then[0], now[0])
        assert not torch.equal(then[1], now[1])


@pytest.mark.parametrize("fault", ["nan", "flung"])
def test_an_unstable_world_is_cut_and_the_others_are_not_disturbed(make, fault):
    envs, calm = make("one_leg"), make("one_leg")
    first, _ = envs.reset(seed=0)
    calm.reset(seed=0)
    sim = envs.simulation
    at = sim.scene.part_velocities[4]
    sim.velocities[0, at : at + 3] = torch.nan if fault == "nan" else 400.0
    for step in range(3):
        actions = waving(still(calm), step)
        seen, rewards, terminated, truncated, infos = envs.step(actions)
        expected = calm.step(actions)[0]
        assert infos["invalid"].tolist() == truncated.tolist() == [step == 0, False]
        assert not terminated.any() and not rewards.any()
        np.testing.assert_array_equal(seen[0], first[0])
        np.testing.assert_allclose(seen[1], expected[1], atol=1e-6)
    again, _ = envs.reset(seed=[0, None], options={"reset_mask": np.array([True, False])})
    np.testing.assert_allclose(again[0], first[0], atol=1e-5)
    assert not envs.step(still(envs))[4]["invalid"].any()


def test_a_part_deep_inside_another_is_unstable(make):
    envs = make("one_leg")
    envs.reset(seed=0)
    sim = envs.simulation
    top, leg = sim.scene.parts[0], sim.scene.parts[4]
    sim.positions[0, leg : leg + 7] = sim.positions[0, top : top + 7]
    assert sim.step(np.arange(2), sim._controls.clone(), 1).tolist() == [True, False]


def test_a_world_whose_contacts_do_not_fit_is_unstable(make, monkeypatch):
    """The parts of one-leg rest on 20 contacts, of three rows each."""
    monkeypatch.setattr(warp_simulation, "_CONSTRAINTS", 60)
    envs = make("one_leg")
    with pytest.raises(RuntimeError, match=r"one_leg: copies \[0, 1\] were unstable"):
        envs.reset(seed=0)


def test_a_world_whose_contacts_have_not_fitted_is_cut_and_others_go_on(make):
    envs = make("one_leg")
    envs.reset(seed=0)
    envs.simulation._overflows[0] = 1
    assert envs.step(still(envs))[4]["invalid"].tolist() == [True, False]


def test_a_start_that_is_unstable_is_drawn_anew_in_its_world_alone(make, monkeypatch):
    def spoiled(*args):
        monkeypatch.setattr(vector_env, "draw", draw)  # the first alone
        start = draw(*args)
        start.wrenches[1, 2] = np.nan
        return start

    envs, calm = make("one_leg"), make("one_leg")
    expected, _ = calm.reset(seed=0)
    monkeypatch.setattr(vector_env, "draw", spoiled)
    seen, _ = envs.reset(seed=0)
    assert np.isfinite(seen).all() and not np.allclose(seen[0], expected[0], atol=1e-3)
    np.testing.assert_allclose(seen[1], expected[1], atol=1e-6)


def test_a_bulb_is_held_until_it_is_let_go(make):
    envs = make("lamp")
    envs.reset(seed=0)
    sim = envs.simulation
    before = envs.poses()[:, 1, :3].clone()
    sim.release(np.array([0]))
    sim.velocities[:, sim.scene.part_velocities[1] + 2] = 0.5
    sim.step(np.arange(2), sim._controls.clone(), 24)
    shift = (envs.poses()[:, 1, :3] - before).norm(dim=-1)
    assert shift[0] > 4e-3 > shift[1]


def test_a_hand_that_comes_near_lets_the_bulb_go(make):
    envs = make("lamp")
    envs.reset(seed=0)
    actions = still(envs)
    actions[0, :3] = envs.poses()[0, 1, :3].cpu().numpy() - BASE + [0, 0, 0.02]
    for _ in range(8):
        envs.step(actions)
    assert envs.simulation._equalities[:, envs.simulation.scene.hold].tolist() == [False, True]


def test_a_leg_is_screwed_in(make):
    """Grasps, threads and the test of assembly, by the expert: in one of two worlds at least."""
    envs, rows = make("one_leg"), np.arange(2)
    envs.reset(seed=[100, 102])
    expert = FurnitureExpert(envs, imperfection=0.0)
    expert.begin(rows, [np.random.default_rng(row) for row in rows])
    for _ in range(350):
        success = envs.step(expert.act(rows).astype(np.float32))[4]["success"]
        if success.any():
            return
    pytest.fail("no leg was screwed in in 350 steps")


def test_a_world_is_drawn_as_it_is(make):
    envs = make("lamp", render_mode="rgb_array")
    envs.reset(seed=0)
    sim = envs.simulation
    for row in (1, 0):
        data = sim.data(row)
        for body, pose in zip(sim.scene.part_bodies, envs.poses()[row], strict=False):
            np.testing.assert_allclose(data.xpos[body], pose[:3].cpu(), atol=1e-6)
        obstacle = data.body("obstacle").xpos
        np.testing.assert_allclose(obstacle, sim.obstacles[row].cpu(), atol=1e-6)
    first, second = envs.render()
    assert first.shape == (240, 320, 3) and not np.array_equal(first, second)
