"""Lamp: the base is pushed into the corner, the bulb screwed into it, the hood put over it."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.assemblies import LAMP
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

_BASE, _BULB, _HOOD = 0, 1, 2
_BASE_HALF, _PLATE = 0.04235, 0.043
_BULB_SEAT, _HOOD_SEAT = np.array([0, -0.0678, 0]), np.array([0, -0.088324, 0])
_CONTACT, _BALL = 0.0155, 0.038
_HOOD_GRIP = 0.043


def lamp(view: View, slip: Vector) -> Plan:
    """Assembles the lamp.

    Args:
        view: What is seen.
        slip: How far off things are grasped (m).
    """

    def plate(height: float) -> Pose:
        base = view.parts[_BASE]
        yaw = nearest_yaw(base.axis(0), np.radians(30), np.pi / 2)
        place = base.position + [slip[0], slip[1], _PLATE + height]
        return hand_pose(place, yaw)

    yield from push_into_corner(view, _BASE, plate, _BASE_HALF)
    yield from turn_around(view, _BULB, slip)
    yield from pick_lying(view, _BULB, slip, along=_BALL)
    yield from insert(view, _BULB, lambda: view.parts[_BASE].point(_BULB_SEAT), _CONTACT)
    yield from screw_in(
        view,
        LAMP.joints[0],
        lambda: view.joined[0],
        grip_height=_BALL,
        symmetry=np.radians(10),
    )
    yield from cover(view, slip)


def cover(view: View, slip: Vector) -> Plan:
    """Grips the hood around its upper rim and lowers it over the bulb."""

    def grasp(height: float) -> Pose:
        place = view.parts[_HOOD].position + [slip[0], slip[1], _HOOD_GRIP + height]
        return hand_pose(place, np.radians(40))

    yield from reach(view, lambda: grasp(0.1), OPEN, near=0.015)
    yield from reach(view, lambda: grasp(0.0), OPEN, near=0.005)
    yield from stay(view, SHUT, 5)
    yield from reach(view, at(view.hand.shifted(z=0.16)), SHUT, near=0.03)
    axis = view.parts[_HOOD].axis(1)
    upright = Rotation.align_vectors([[0, 0, -1]], [axis])[0] * view.parts[_HOOD].rotation

    def over(height: float) -> Pose:
        seat = view.parts[_BASE].point(_HOOD_SEAT)
        return Pose(seat + [0, 0, height], upright)

    yield from lower(view, _HOOD, over, ((0.13, 0.02), (0.12, 0.005), (0.05, 0.005), (0.0, 0.004)))
    yield from stay(view, OPEN, 5)
    yield from reach(view, at(view.hand.shifted(z=0.08)), OPEN, near=0.02)
