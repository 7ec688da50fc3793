"""Where an arm's hand is, and how its joints move it, for many arms at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dppo_rllib.environments.rotations import matrix_of_quaternion


@dataclass(frozen=True)
class Hand:
    """Of `N` arms where the hand is, in the frame of the base.

    Attributes:
        position: Its (m).
        rotation: Its.
        jacobian: What joint velocities make of its velocity: linear, then angular.
    """

    position: Float[Tensor, "N 3"]
    rotation: Float[Tensor, "N 3 3"]
    jacobian: Float[Tensor, "N 6 joints"]


class Arm:
    """The chain of bodies from an arm's base to its hand, read from a model.

    Args:
        model: MuJoCo's; bodies of the chain have no joint, or one hinge about their z axis.
        hand: Name of the last body.
        base: Name of the body before the first.
        device: Of the tensors.
        dtype: The same.
    """

    def __init__(
        self,
        model: Any,
        hand: str,
        base: str,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float64,
    ):
        links = []
        body = model.body(hand)
        while body.name != base:
            links.append(body)
            body = model.body(int(body.parentid[0]))
        offsets, turns, offset, turn = [], [], np.zeros(3), np.eye(3)
        for link in reversed(links):
            offset, turn = offset + turn @ link.pos, turn @ _matrix(link.quat)
            if link.jntnum[0]:
                offsets.append(offset)
                turns.append(turn)
                offset, turn = np.zeros(3), np.eye(3)
        options: Any = {"device": device, "dtype": dtype}
        self._offsets = torch.as_tensor(np.array([*offsets, offset]), **options)
        self._turns = torch.as_tensor(np.array(turns), **options)
        self._last_turn = torch.as_tensor(turn, **options)

    def hand(self, joints: Float[Tensor, "N joints"]) -> Hand:
        """The hand at these joint angles (rad)."""
        turns = (self._turns @ _about_z(joints)).unbind(1)
        rotation, anchors, axes = turns[0], [self._offsets[0].expand(len(joints), 3)], []
        for turn, offset in zip(turns[1:], self._offsets[1:-1], strict=True):
            axes.append(rotation[..., 2])
            anchors.append(anchors[-1] + rotation @ offset)
            rotation = rotation @ turn
        axes.append(rotation[..., 2])
        position = anchors[-1] + rotation @ self._offsets[-1]
        axis, anchor = torch.stack(axes, dim=-1), torch.stack(anchors, dim=-1)
        linear = torch.linalg.cross(axis, position[..., None] - anchor, dim=1)
        return Hand(position, rotation @ self._last_turn, torch.cat([linear, axis], dim=1))


def _matrix(quat: Float[np.ndarray, "4"]) -> Float[np.ndarray, "3 3"]:
    return matrix_of_quaternion(torch.as_tensor(quat)).numpy()


def _about_z(angles: Float[Tensor, "N joints"]) -> Float[Tensor, "N joints 3 3"]:
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    rows = [cos, -sin, zero, sin, cos, zero, zero, zero, zero + 1]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
