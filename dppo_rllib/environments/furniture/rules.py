"""What policies observe of an assembly, and what counts as assembled."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from dppo_rllib.environments.furniture.assemblies import Assembly
from dppo_rllib.environments.furniture.scene import OBSTACLE_TURN, TAG, TAG_ROTATION
from dppo_rllib.environments.kinematics import Hand
from dppo_rllib.environments.rotations import (
    matrix_of_quaternion,
    quaternion_of_matrix,
    rows_of_matrix,
)

_POSITION_TOLERANCE = 0.005
_ROTATION_BOUND = 0.94

Poses = Float[Tensor, "N things 7"]
Quaternions = Float[Tensor, "things 4"]


def observations(
    hand: Hand,
    arm_velocities: Float[Tensor, "N 7"],
    fingers: Float[Tensor, "N 2"],
    poses: Poses,
    starts: Quaternions,
) -> Float32[Tensor, "N Do"]:
    """The robot's state and where things are.

    Args:
        hand: The robot's.
        arm_velocities: Of its joints (rad/s).
        fingers: How far each is open (m).
        poses: Of all parts and of the obstacle in the world: position, quaternion (w, x, y, z).
        starts: See `start_quaternions`.

    Returns:
        Hand position (3, robot's frame), rotation (6, two rows), linear and angular velocity
        (3 + 3), gripper width (1), then of each part and of the obstacle position and quaternion
        (x, y, z, w) in the frame of the tag.
    """
    velocity = (hand.jacobian @ arm_velocities[..., None]).squeeze(-1)
    robot = [hand.position, rows_of_matrix(hand.rotation), velocity, fingers.sum(-1, keepdim=True)]
    seen = in_tag_frame(poses, starts)
    return torch.cat([*robot, seen.flatten(1)], dim=-1).float()


def start_quaternions(assembly: Assembly) -> Quaternions:
    """How parts and, last, the obstacle are turned at the start as the tag sees them (wxyz)."""
    parts = [torch.as_tensor(part.orientation).double() for part in assembly.parts]
    turn = torch.as_tensor(TAG_ROTATION.T)
    obstacle = turn @ matrix_of_quaternion(torch.as_tensor(OBSTACLE_TURN))
    return quaternion_of_matrix(torch.stack([*parts, obstacle]))


def in_tag_frame(poses: Poses, starts: Quaternions) -> Poses:
    """Poses in the world as the tag sees them, quaternions x, y, z, w.

    Of the two quaternions of a rotation that is taken which is nearer to the start's. With a real
    part that is not negative, the sign of a table top's would be noise: it starts half a turn away
    from the tag, where the real part is 0.

    Args:
        poses: Of things: position, quaternion (w, x, y, z).
        starts: Of the same things, see `start_quaternions`.
    """
    turn = poses.new_tensor(TAG_ROTATION.T)
    position = (poses[..., :3] - poses.new_tensor(TAG)) @ turn.T
    quat = quaternion_of_matrix(turn @ matrix_of_quaternion(poses[..., 3:]))
    away = (quat * starts).sum(dim=-1, keepdim=True) < 0
    return torch.cat([position, torch.where(away, -quat, quat).roll(-1, dims=-1)], dim=-1)


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
