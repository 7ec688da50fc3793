"""One-leg: the table top is pushed into the obstacle's corner, then a leg is screwed into it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.assemblies import ONE_LEG
from dppo_rllib.environments.furniture.experts.inserting import stand_in
from dppo_rllib.environments.furniture.experts.moves import (
    Plan,
    Pose,
    Vector,
    View,
    hand_pose,
    nearest_yaw,
)
from dppo_rllib.environments.furniture.experts.pushing import push_into_corner, square_angle
from dppo_rllib.environments.furniture.experts.screwing import screw_in

_TOP, _LEG = 0, 4
_HALF, _HALF_WALL = 0.08125, 0.003
_CONTACT = 0.0155


def one_leg(view: View, slip: Vector) -> Plan:
    """Assembles one leg.

    Args:
        view: What is seen.
        slip: How far off things are grasped (m).
    """

    def near_wall() -> Pose:
        top = view.parts[_TOP]
        turned = Rotation.from_euler("z", square_angle(top))
        yaw = nearest_yaw(turned.apply([1.0, 0, 0]), -np.pi / 2, np.pi)
        wall = turned.apply([_HALF_WALL - _HALF, slip[1], 0.008])
        return hand_pose(top.position + wall, yaw)

    yield from push_into_corner(view, _TOP, near_wall, _HALF)
    hole = _near_hole(view.parts[_TOP])
    yield from stand_in(
        view, _LEG, lambda: view.parts[_TOP].point(hole), _CONTACT, slip, along=0.004
    )
    yield from screw_in(view, ONE_LEG.joints[0], lambda: view.joined[0])


def _near_hole(top: Pose) -> Vector:
    """The hole that is nearest to the robot and to its right, in the top's frame."""
    holes = [np.array(position) for position in ONE_LEG.joints[0].positions]
    return min(holes, key=lambda hole: float(top.point(hole)[:2].sum()))
