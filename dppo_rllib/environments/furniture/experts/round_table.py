"""Round-table: the top is pushed to the corner, the leg screwed into it, the base into the leg."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.assemblies import ROUND_TABLE
from dppo_rllib.environments.furniture.experts.inserting import insert, pick_lying, turn_around
from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    SHUT,
    Plan,
    Pose,
    Vector,
    View,
    at,
    hand_pose,
    lower,
    nearest_yaw,
    reach,
    stay,
)
from dppo_rllib.environments.furniture.experts.pushing import push_into_corner
from dppo_rllib.environments.furniture.experts.screwing import screw_in

_TOP, _LEG, _BASE = 0, 1, 2
_RADIUS, _HALF_WALL, _WALL_MIDDLE = 0.1, 0.003, 0.013
_LEG_SEAT, _BASE_SEAT = np.array([0, 0, 0.044375]), np.array([0, 0.053125, 0])
_CONTACT, _HEAD, _ROUND = 0.0155, 0.032, np.radians(10)
# The cross is grasped between its arms.
_DIAGONAL = np.pi / 4


def round_table(view: View, slip: Vector) -> Plan:
    """Assembles the table.

    Args:
        view: What is seen.
        slip: How far off things are grasped (m).
    """

    def near_wall(height: float) -> Pose:
        wall = np.array([_HALF_WALL - _RADIUS, slip[1], _WALL_MIDDLE + height])
        return hand_pose(view.parts[_TOP].position + wall, -np.pi / 2)

    first, second = ROUND_TABLE.joints
    yield from push_into_corner(view, _TOP, near_wall, _RADIUS, straighten=False)
    yield from turn_around(view, _LEG, slip)
    yield from pick_lying(view, _LEG, slip, along=_HEAD)
    yield from insert(view, _LEG, lambda: view.parts[_TOP].point(_LEG_SEAT), _CONTACT)
    yield from screw_in(view, first, lambda: view.joined[0], grip_height=_HEAD, symmetry=_ROUND)
    yield from pick_base(view, slip)
    yield from place_base(view)
    yield from screw_in(view, second, lambda: view.joined[1], grip_height=0.004)


def pick_base(view: View, slip: Vector) -> Plan:
    """Takes the cross, which stands on its screw, from above."""

    def grasp(height: float) -> Pose:
        diagonal = view.parts[_BASE].rotation * Rotation.from_euler("z", _DIAGONAL)
        yaw = nearest_yaw(diagonal.apply([0.0, 1, 0]), np.radians(45), np.pi / 2)
        place = view.parts[_BASE].position + [slip[0], slip[1], 0.005 + height]
        return hand_pose(place, yaw)

    yield from reach(view, lambda: grasp(0.08), OPEN, near=0.015)
    yield from reach(view, lambda: grasp(0.0), OPEN)
    yield from stay(view, SHUT, 5)
    yield from reach(view, at(view.hand.shifted(z=0.15)), SHUT, near=0.03)


def place_base(view: View) -> Plan:
    """Puts the cross's screw into the leg."""
    axis = view.parts[_BASE].axis(2)
    upright = Rotation.align_vectors([[0, 0, 1]], [axis])[0] * view.parts[_BASE].rotation

    def over(height: float) -> Pose:
        seat = view.parts[_LEG].point(_BASE_SEAT)
        return Pose(seat + [0, 0, _CONTACT + height], upright)

    yield from lower(view, _BASE, over, ((0.07, 0.02), (0.02, 0.004), (0.008, 0.003), (0.0, 0.003)))
