"""D3IL's arm in MuJoCo, and how near the planar one comes to it."""

from pathlib import Path

import mujoco
import numpy as np
import pytest

from dppo_rllib.environments.avoid.demonstrator import Demonstrator
from dppo_rllib.environments.avoid.panda import PandaRods
from dppo_rllib.environments.avoid.table import PILLARS, START
from dppo_rllib.environments.avoid.vector_env import AvoidVectorEnv

GOLDEN = Path(__file__).parents[2] / "golden" / "avoid_arm.npz"
ALL = slice(None)


@pytest.fixture(scope="module")
def rods():
    return PandaRods(2)


def as_numbers(pairs):
    return pairs[..., 0].astype(float) + 1j * pairs[..., 1]


def test_recordings_are_of_this_arm():
    """A third of an episode by one of the first and by one of the last way."""
    with np.load(GOLDEN) as arrays:
        changes, expected = as_numbers(arrays["actions"]), as_numbers(arrays["positions"])
    which = [0, len(changes) - 1]
    found = PandaRods(2)
    for step in range(changes.shape[1] // 3):
        assert not found.move(ALL, changes[which, step]).any()
        np.testing.assert_allclose(found.position, expected[which, step + 1], atol=1e-5)


def test_it_comes_to_rest_where_it_shall_be_and_upright(rods):
    rods.place(ALL, np.array([START, 0.4 + 0.1j]))
    rods.move(ALL, np.array([0.01 + 0.01j, -0.01]))
    for _ in range(45):
        rods.move(ALL, np.zeros(2, complex))
    np.testing.assert_allclose(rods.desired, [START + 0.01 + 0.01j, 0.39 + 0.1j])
    np.testing.assert_allclose(rods.position, rods.desired, atol=2e-3)
    for data in rods._datas:
        np.testing.assert_allclose(data.body("rod").xmat[8], -1, atol=1e-4)
        np.testing.assert_allclose(data.body("tip").xpos[2], 0.12, atol=2e-3)


def test_a_place_is_the_same_whatever_was_before(rods):
    place = np.array([0.45 - 0.2j, START])
    rods.place(ALL, place)
    first = [data.qpos.copy() for data in rods._datas]
    rods.move(ALL, np.array([0.01j, 0.01]))
    rods.place(ALL, place)
    np.testing.assert_array_equal([data.qpos for data in rods._datas], first)
    np.testing.assert_allclose(rods._datas[0].body("tip").xpos, [0.45, -0.2, 0.12], atol=1e-9)


def test_a_pillar_holds_it_off_and_is_felt(rods):
    rods.place(ALL, np.array([0.5 - 0.16j, START]))
    felt = [rods.move(ALL, np.array([0.005j, 0])) for _ in range(16)]
    assert not any(felt[1]) and felt[-1].tolist() == [True, False]
    assert rods.desired[0].imag > PILLARS[0].imag
    assert rods.position[0].imag < PILLARS[0].imag - 0.035


def test_its_kinematics_are_mujocos(rods):
    model, data = rods._model, mujoco.MjData(rods._model)
    generator = np.random.default_rng(0)
    joints = data.qpos + generator.normal(0, 0.5, 7)
    data.qpos[:] = joints
    mujoco.mj_forward(model, data)
    hand = rods._arm.hand(rods._command.new_tensor(joints)[None])
    np.testing.assert_allclose(hand.position[0], data.body("tip").xpos, atol=1e-12)
    linear, angular = np.zeros((2, 3, model.nv))
    mujoco.mj_jacBody(model, data, linear, angular, model.body("tip").id)
    np.testing.assert_allclose(hand.jacobian[0], np.concatenate([linear, angular]), atol=1e-12)


def test_demonstrations_take_their_way_with_the_arm_too():
    env, rows = AvoidVectorEnv(1, way=5, simulator="mujoco"), np.arange(1)
    env.reset(seed=0)
    expert = Demonstrator(env, (5,), imperfection=0.0)
    expert.begin(rows, [np.random.default_rng(0)])
    infos = {"success": np.zeros(1, bool)}
    for _ in range(100):
        if not infos["success"].all():
            *_, infos = env.step(expert.act(rows))
    assert infos["success"].all() and infos["ways"].tolist() == [[1, 2, 5]]
