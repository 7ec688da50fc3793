"""Where the Panda's hand is, and how joints move it, for many arms at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from dppo_rllib.environments.furniture.rotations import matrix_of_quaternion

_HAND = "k_ee_link"
_BASE = "panda_link0"


@dataclass(frozen=True)
class Hand:
    """Of `N` arms where the hand is, in the frame of the robot's base.

    Attributes:
        position: Of the point between the fingertips (m).
        rotation: Its.
        jacobian: What joint velocities make of its velocity: linear, then angular.
    """

    position: Float[Tensor, "N 3"]
    rotation: Float[Tensor, "N 3 3"]
    jacobian: Float[Tensor, "N 6 7"]


class Arm:
    """The chain from the robot's base to its hand, read from a model.

    Args:
        model: MuJoCo's, with the Panda.
        device: Of the tensors.
        dtype: The same.
    """

    def __init__(self, model: Any, device: torch.device | str, dtype: torch.dtype):
        links = []
        body = model.body(_HAND)
        while body.name != _BASE:
            links.append(body)
            body = model.body(int(body.parentid[0]))
        links.reverse()
        self._hinged = [bool(link.jntnum[0]) for link in links]
        options: Any = {"device": device, "dtype": dtype}
        self._offsets = torch.as_tensor([link.pos.tolist() for link in links], **options)
        quats = torch.as_tensor([link.quat.tolist() for link in links], **options)
        self._turns = matrix_of_quaternion(quats)

    def hand(self, joints: Float[Tensor, "N 7"]) -> Hand:
        """The hand at these joint angles (rad)."""
        position = joints.new_zeros(len(joints), 3)
        rotation = torch.eye(3, dtype=joints.dtype, device=joints.device).expand(len(joints), 3, 3)
        axes, anchors = [], []
        for hinged, offset, turn in zip(self._hinged, self._offsets, self._turns, strict=True):
            position = position + rotation @ offset
            rotation = rotation @ turn
            if hinged:
                axes.append(rotation[..., 2])
                anchors.append(position)
                rotation = rotation @ _about_z(joints[:, len(axes) - 1])
        axis, anchor = torch.stack(axes, dim=-1), torch.stack(anchors, dim=-1)
        linear = torch.linalg.cross(axis, position[..., None] - anchor, dim=1)
        return Hand(position, rotation, torch.cat([linear, axis], dim=1))


def _about_z(angle: Float[Tensor, " N"]) -> Float[Tensor, "N 3 3"]:
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1]
    return torch.stack(rows, dim=-1).reshape(-1, 3, 3)
