"""What counts as assembled, and what is observed."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.assemblies import ASSEMBLIES
from dppo_rllib.environments.furniture.rules import (
    assembled,
    in_tag_frame,
    start_quaternions,
)
from dppo_rllib.environments.furniture.scene import OBSTACLE, OBSTACLE_TURN, TAG, TAG_ROTATION

JOINTS = [(name, i) for name, a in ASSEMBLIES.items() for i in range(len(a.joints))]


def poses_with(assembly, index, shift=(0, 0, 0), turn=(0, 0, 0), which=0):
    """Parts far apart in a frame of their own, but for one joint, displaced in its base's frame."""
    generator = np.random.default_rng(index)
    turns = Rotation.random(len(assembly.parts), random_state=3)
    places = 10 * np.arange(len(assembly.parts))[:, None] + generator.normal(size=3)
    joint = assembly.joints[index]
    base = turns[joint.base]
    rotation = (
        Rotation.identity() if joint.rotation is None else Rotation.from_matrix(joint.rotation)
    )
    offset = np.array(joint.positions[which]) + shift
    turned = base * Rotation.from_rotvec(turn) * rotation
    quats = turns.as_quat()
    places[joint.part] = places[joint.base] + base.apply(offset)
    quats[joint.part] = turned.as_quat()
    return torch.as_tensor(np.concatenate([places, quats[:, [3, 0, 1, 2]]], axis=1)[None])


@pytest.mark.parametrize("name, index", JOINTS)
def test_a_joint_fits_in_its_place_and_up_to_5_mm(name, index):
    assembly = ASSEMBLIES[name]
    for which in range(len(assembly.joints[index].positions)):
        for axis in np.eye(3):
            near = assembled(assembly, poses_with(assembly, index, 0.0049 * axis, which=which))
            far = assembled(assembly, poses_with(assembly, index, -0.0051 * axis, which=which))
            assert near[0].tolist() == [i == index for i in range(len(assembly.joints))]
            assert not far.any()


@pytest.mark.parametrize("name, index", JOINTS)
def test_rotations_agree_to_20_degrees_where_they_matter(name, index):
    assembly = ASSEMBLIES[name]
    free = assembly.joints[index].rotation is None
    for axis in np.eye(3):
        assert assembled(assembly, poses_with(assembly, index, turn=np.radians(19) * axis))[
            0, index
        ]
        far = assembled(assembly, poses_with(assembly, index, turn=np.radians(21) * axis))
        assert bool(far[0, index]) is free


def test_the_tag_sees_poses_in_its_frame():
    world = torch.tensor([[[*TAG, 1.0, 0, 0, 0], [*OBSTACLE, 0.0, 0, 0, 1]]], dtype=torch.float64)
    starts = torch.tensor([[0.0, 1, 0, 0], [1.0, 0, 0, 0]], dtype=torch.float64)
    seen = in_tag_frame(world, starts)[0].numpy()
    np.testing.assert_allclose(seen[:, :3], [[0, 0, 0], [0, 0.38, -0.015]], atol=1e-12)
    for pose, quat in zip(seen, ([0, 0, 0, 1], [0, 0, 1, 0]), strict=True):
        expected = TAG_ROTATION.T @ Rotation.from_quat(quat).as_matrix()
        np.testing.assert_allclose(Rotation.from_quat(pose[3:]).as_matrix(), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_obstacle_is_seen_as_its_front_bar_lies(dtype):
    # furniture-bench creates it with a quarter turn about z; the tag looks at it from below.
    world = torch.tensor([[[*OBSTACLE, *OBSTACLE_TURN]]], dtype=dtype)
    starts = start_quaternions(ASSEMBLIES["lamp"])[-1:].to(dtype)
    seen = in_tag_frame(world, starts)[0, 0]
    np.testing.assert_allclose(seen.numpy(), [0, 0.38, -0.015, 1, 0, 0, 0], atol=1e-7)


@pytest.mark.parametrize("name", ASSEMBLIES)
def test_quaternions_do_not_change_their_sign_while_parts_are_pushed_about(name):
    starts = start_quaternions(ASSEMBLIES[name])
    tag, generator = Rotation.from_matrix(TAG_ROTATION), np.random.default_rng(0)
    for start, index in zip(starts, range(len(starts)), strict=True):
        there = tag * Rotation.from_quat(start.numpy()[[1, 2, 3, 0]])
        pushed = Rotation.from_rotvec(generator.uniform(-1, 1, (200, 3))) * there
        poses = torch.zeros(200, 1, 7, dtype=torch.float64)
        poses[:, 0, 3:] = torch.as_tensor(pushed.as_quat()[:, [3, 0, 1, 2]])
        seen = in_tag_frame(poses, starts[[index]])[:, 0, 3:]
        assert (seen @ start.roll(-1) > 0.5).all()
