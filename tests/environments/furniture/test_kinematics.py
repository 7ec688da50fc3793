"""The arm's kinematics against MuJoCo's."""

import mujoco
import numpy as np
import pytest
import torch

from dppo_rllib.environments.furniture.control import finger_targets, joint_targets
from dppo_rllib.environments.furniture.scene import BASE, CLOSED, HAND, HAND_BASE, REST, scene
from dppo_rllib.environments.kinematics import Arm
from dppo_rllib.environments.rotations import rows_of_matrix, vector_of_matrix


@pytest.fixture(scope="module")
def model():
    return scene("one_leg").model


@pytest.fixture(scope="module")
def arm(model):
    return Arm(model, HAND, HAND_BASE)


@pytest.fixture
def joints():
    return torch.as_tensor(REST + np.random.default_rng(0).normal(0, 0.3, (5, 7)))


def test_the_hand_and_its_jacobian_are_mujocos(model, arm, joints):
    hand, data = arm.hand(joints), mujoco.MjData(model)
    body = model.body(HAND).id
    linear, angular = np.zeros((2, 3, model.nv))
    for i, angles in enumerate(joints):
        data.qpos[:7] = angles
        mujoco.mj_forward(model, data)
        mujoco.mj_jacBody(model, data, linear, angular, body)
        np.testing.assert_allclose(hand.position[i] + BASE, data.xpos[body], atol=1e-12)
        np.testing.assert_allclose(hand.rotation[i], data.xmat[body].reshape(3, 3), atol=1e-12)
        expected = np.concatenate([linear[:, :7], angular[:, :7]])
        np.testing.assert_allclose(hand.jacobian[i], expected, atol=1e-12)


def test_joint_targets_reach_what_is_near(arm, joints):
    hand = arm.hand(joints)
    shift = torch.tensor([0.002, -0.001, 0.003], dtype=torch.float64)
    other = arm.hand(joints + 0.003)
    wanted = torch.cat(
        [hand.position + shift, rows_of_matrix(other.rotation), torch.ones(len(joints), 1)], dim=-1
    )
    reached = arm.hand(joint_targets(joints, hand, wanted))
    # To first order: what is left is of the second.
    assert (reached.position - wanted[:, :3]).norm(dim=-1).max() < 1e-4
    left = vector_of_matrix(other.rotation @ reached.rotation.transpose(-1, -2))
    assert left.norm(dim=-1).max() < 2e-4


def test_fingers_turn_around_only_beyond_the_margin():
    grasp = torch.tensor([1.0, 0.018, -1.0, -0.018, 1.0, -1.0])
    last = torch.tensor([-1.0, -1.0, 1.0, 1.0, 1.0, -1.0])
    found = finger_targets(grasp, last, 0.065)
    opened = torch.tensor([0.0, 1, 1, 0, 0, 1])
    expected = torch.where(opened > 0, 0.0325, CLOSED)
    torch.testing.assert_close(found, expected[:, None].expand(-1, 2))
