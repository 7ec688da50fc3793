"""Lamp: the base is pushed into the corner, the bulb screwed into it, the hood put over it.

Hood and bulb are in the way before: the one where it stands too near to the base, the other where
it is held until the hand comes.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.assemblies import LAMP
from dppo_rllib.environments.furniture.experts.inserting import stand_in
from dppo_rllib.environments.furniture.experts.moves import (
    EMPTY,
    NEUTRAL_YAW,
    OPEN,
    SHUT,
    Plan,
    Pose,
    Vector,
    View,
    approach,
    at,
    hand_pose,
    lower,
    nearest_yaw,
    reach,
    retreat,
    switch,
)
from dppo_rllib.environments.furniture.experts.pushing import push_into_corner
from dppo_rllib.environments.furniture.experts.screwing import screw_in

_BASE, _BULB, _HOOD = 0, 1, 2
_BASE_HALF, _PLATE = 0.04235, 0.043
_BULB_SEAT, _HOOD_SEAT = np.array([0, -0.0678, 0]), np.array([0, -0.088324, 0])
_CONTACT, _BALL, _AROUND = 0.0155, 0.038, 0.015
_HOOD_YAW, _HOOD_WALL, _HOOD_GRIP = np.radians(40), 0.032, 0.043
# How far to the right of the base the hood must be for the hand to push the base without it, and
# where it is put if it is not.
_ROOM, _ASIDE = 0.14, np.array([0.43, -0.15])
_MAX_TRIES = 3


def lamp(view: View, slip: Vector) -> Plan:
    """Assembles the lamp.

    Args:
        view: What is seen.
        slip: How far off things are grasped (m).
    """

    def plate() -> Pose:
        base = view.parts[_BASE]
        yaw = nearest_yaw(base.axis(0), np.radians(30), np.pi / 2)
        place = base.position + [slip[0], slip[1], _PLATE]
        return hand_pose(place, yaw)

    if view.parts[_BASE].position[1] - view.parts[_HOOD].position[1] < _ROOM:
        yield from put_aside(view, slip)
    yield from push_into_corner(view, _BASE, plate, _BASE_HALF)
    yield from let_go(view)

    def socket() -> Vector:
        return view.parts[_BASE].point(_BULB_SEAT)

    yield from stand_in(view, _BULB, socket, _CONTACT, slip, along=_BALL)
    yield from screw_in(
        view,
        LAMP.joints[0],
        lambda: view.joined[0],
        grip_height=_BALL,
        symmetry=np.radians(10),
    )
    yield from cover(view, slip)


def put_aside(view: View, slip: Vector) -> Plan:
    """Takes the hood by the wall that is away from the base and puts it where there is room."""
    yield from take_hood(view, slip, side=-1)
    x, y = _ASIDE - view.parts[_HOOD].position[:2]
    yield from reach(view, at(view.hand.shifted(x, y)), SHUT, near=0.02)
    yield from reach(view, at(view.hand.shifted(z=-0.05)), SHUT, max_steps=8)
    yield from switch(view, OPEN)
    yield from retreat(view, 0.08)


def let_go(view: View) -> Plan:
    """Brings the open hand to the bulb, which is held where it starts until then.

    Where the bulb is picked, at its ball, the hand would be too far from its origin: it would be
    torn from the fingers.
    """

    def around() -> Pose:
        axis = view.parts[_BULB].axis(1)
        yaw = nearest_yaw(np.array([-axis[1], axis[0], 0]), NEUTRAL_YAW, np.pi)
        return hand_pose(view.parts[_BULB].position + [0, 0, _AROUND], yaw)

    yield from approach(view, around, 0.06)
    yield from retreat(view, 0.08)


def cover(view: View, slip: Vector) -> Plan:
    """Takes the hood and drops it over the bulb."""
    yield from take_hood(view, slip, side=1)
    axis = view.parts[_HOOD].axis(1)
    upright = Rotation.align_vectors([[0, 0, -1]], [axis])[0] * view.parts[_HOOD].rotation

    def over(height: float) -> Pose:
        seat = view.parts[_BASE].point(_HOOD_SEAT)
        return Pose(seat + [0, 0, height], upright)

    # Further down the finger inside would meet the bulb.
    yield from lower(view, _HOOD, over, high=0.15, low=0.03, room=0.004)
    yield from switch(view, OPEN)
    yield from reach(view, at(view.hand.shifted(z=0.08)), OPEN, near=0.02)


def take_hood(view: View, slip: Vector, *, side: int) -> Plan:
    """Takes the hood by the wall at its upper rim.

    The open hand is hardly wider than the hood; around one wall it has room. The hand stays low
    where the hood was: high up and near the robot the arm's first and third joint have one axis,
    and it hardly moves sideways.

    Args:
        view: What is seen.
        slip: How far off it is grasped (m).
        side: Of both walls in the fingers' line 1 takes the left one, -1 the right one.
    """
    line = side * np.array([-np.sin(_HOOD_YAW), np.cos(_HOOD_YAW), 0])

    def grasp() -> Pose:
        wall = _HOOD_WALL * line + [slip[0], slip[1], _HOOD_GRIP]
        return hand_pose(view.parts[_HOOD].position + wall, _HOOD_YAW)

    for _ in range(_MAX_TRIES):
        yield from approach(view, grasp, 0.045)
        yield from switch(view, SHUT)
        yield from reach(view, at(view.hand.shifted(z=0.06)), SHUT, near=0.03)
        if view.width > EMPTY:
            return
        yield from switch(view, OPEN)
