"""What policies observe of an assembly, and what counts as assembled."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from dppo_rllib.environments.furniture.assemblies import Assembly
from dppo_rllib.environments.furniture.kinematics import Hand
from dppo_rllib.environments.furniture.rotations import (
    matrix_of_quaternion,
    quaternion_of_matrix,
    rows_of_matrix,
)
from dppo_rllib.environments.furniture.scene import TAG, TAG_ROTATION

_POSITION_TOLERANCE = 0.005
_ROTATION_BOUND = 0.94

Poses = Float[Tensor, "N parts 7"]


def observations(
    hand: Hand,
    arm_velocities: Float[Tensor, "N 7"],
    fingers: Float[Tensor, "N 2"],
    poses: Poses,
) -> Float32[Tensor, "N Do"]:
    """The robot's state and where things are.

    Args:
        hand: The robot's.
        arm_velocities: Of its joints (rad/s).
        fingers: How far each is open (m).
        poses: Of all parts and of the obstacle in the world: position, quaternion (w, x, y, z).

    Returns:
        Hand position (3, robot's frame), rotation (6, two rows), linear and angular velocity
        (3 + 3), gripper width (1), then of each part and of the obstacle position and quaternion
        (x, y, z, w) in the frame of the tag.
    """
    velocity = (hand.jacobian @ arm_velocities[..., None]).squeeze(-1)
    robot = [hand.position, rows_of_matrix(hand.rotation), velocity, fingers.sum(-1, keepdim=True)]
    seen = in_tag_frame(poses)
    return torch.cat([*robot, seen.flatten(1)], dim=-1).float()


def in_tag_frame(poses: Poses) -> Poses:
    """Poses in the world as the tag sees them, quaternions x, y, z, w with w not below 0."""
    turn = poses.new_tensor(TAG_ROTATION.T)
    position = (poses[..., :3] - poses.new_tensor(TAG)) @ turn.T
    quat = quaternion_of_matrix(turn @ matrix_of_quaternion(poses[..., 3:]))
    return torch.cat([position, quat.roll(-1, dims=-1)], dim=-1)


def assembled(assembly: Assembly, poses: Poses) -> Bool[Tensor, "N joints"]:
    """Which joints fit: 5 mm along each axis, and rotations whose columns agree to 0.94.

    Args:
        assembly: With the joints.
        poses: Of the parts, in any one frame: position, quaternion (w, x, y, z).
    """
    fits = []
    for joint in assembly.joints:
        base = matrix_of_quaternion(poses[:, joint.base, 3:])
        offset = poses[:, joint.part, :3] - poses[:, joint.base, :3]
        inverse = base.transpose(-1, -2)
        offset = (inverse @ offset[..., None]).squeeze(-1)
        wanted = poses.new_tensor(joint.positions)
        near = ((offset[:, None] - wanted).abs() < _POSITION_TOLERANCE).all(-1).any(-1)
        if joint.rotation is not None:
            rotation = inverse @ matrix_of_quaternion(poses[:, joint.part, 3:])
            agreement = (rotation * poses.new_tensor(joint.rotation)).sum(dim=-2)
            near &= (agreement >= _ROTATION_BOUND).all(dim=-1)
        fits.append(near)
    return torch.stack(fits, dim=-1)
