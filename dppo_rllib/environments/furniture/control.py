"""From actions to servo targets: differential inverse kinematics and the gripper's switch."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dppo_rllib.environments.furniture.scene import CLOSED
from dppo_rllib.environments.kinematics import Hand
from dppo_rllib.environments.rotations import matrix_of_rows, vector_of_matrix

# An action closer to 0 does not turn the gripper around (the fork's `grasp_margin`).
_GRASP_MARGIN = 0.02 - 0.001


def joint_targets(
    joints: Float[Tensor, "N 7"], hand: Hand, actions: Float[Tensor, "N 10"]
) -> Float[Tensor, "N 7"]:
    """Joint angles that move the hand where actions want it, to first order (the fork's "diffik").

    Args:
        joints: Now (rad).
        hand: Where it is at these.
        actions: Position in the robot's frame (m), two rows of the rotation, gripper.
    """
    turn = matrix_of_rows(actions[:, 3:9]) @ hand.rotation.transpose(-1, -2)
    error = torch.cat([actions[:, :3] - hand.position, vector_of_matrix(turn)], dim=-1)
    jacobian = hand.jacobian
    square = jacobian @ jacobian.transpose(-1, -2)
    change = jacobian.transpose(-1, -2) @ torch.linalg.solve(square, error[..., None])
    return joints + change.squeeze(-1)


def finger_targets(
    grasp: Float[Tensor, " N"], last: Float[Tensor, " N"], width: float
) -> Float[Tensor, "N 2"]:
    """Where the fingers' servos go: a new sign counts beyond a margin, or when it comes twice.

    That is the fork's: it remembers the last action. The benchmark remembers the last that counted.

    Args:
        grasp: The gripper's actions; below 0 opens.
        last: Those of the step before; -1 at first.
        width: Of the open gripper (m).
    """
    turns = (grasp.sign() != last.sign()) & (grasp.abs() > _GRASP_MARGIN)
    opens = torch.where(turns, grasp, last) < 0
    target = torch.where(opens, width / 2, CLOSED).to(grasp.dtype)
    return target[:, None].expand(-1, 2)
