"""Round-table: the top is pushed to the corner, the leg screwed into it, the foot into the leg."""

from __future__ import annotations

import functools

import numpy as np
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.assemblies import ROUND_TABLE
from dppo_rllib.environments.furniture.experts.inserting import stand_in
from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    SHUT,
    Plan,
    Pose,
    Vector,
    View,
    at,
    hand_pose,
    nearest_yaw,
    plug_in,
    reach,
    switch,
)
from dppo_rllib.environments.furniture.experts.pushing import push_into_corner
from dppo_rllib.environments.furniture.experts.screwing import screw_in

_TOP, _LEG, _FOOT = 0, 1, 2
_RADIUS, _RIM, _RIM_GRIP = 0.1, 0.097, 0.009
# Where on the rim the wrist reaches it, as directions from the middle.
_RIM_ANGLES = np.radians([150, 165, 180, 195, 210])
_LEG_SEAT, _FOOT_SEAT = np.array([0, 0, 0.044375]), np.array([0, 0.053125, 0])
_LEG_CONTACT, _FOOT_CONTACT = 0.0155, 0.0145
# The leg's head is round: fingers may grip it from anywhere.
_HEAD, _ROUND = 0.032, np.radians(10)
# The foot is a cross, and fingers reach its middle between two arms.
_FOOT_GRIP, _DIAGONAL = 0.004, np.pi / 4
_ABOVE_ARMS = 0.03
# Between the fingers is more than this if they hold it there, and not an arm of it.
_HELD, _MAX_TRIES = 0.04, 3


def round_table(view: View, slip: Vector) -> Plan:
    """Assembles the table.

    Args:
        view: What is seen.
        slip: How far off things are grasped (m).
    """
    free = _free_angle(view)

    def rim() -> Pose:
        place = view.parts[_TOP].position + _RIM * _direction(free)
        return hand_pose(place + [0, slip[1], _RIM_GRIP], free - np.pi / 2)

    leg, foot = ROUND_TABLE.joints
    yield from push_into_corner(view, _TOP, rim, _RADIUS, straighten=False)

    def socket() -> Vector:
        return view.parts[_TOP].point(_LEG_SEAT)

    yield from stand_in(view, _LEG, socket, _LEG_CONTACT, slip, along=_HEAD)
    yield from screw_in(view, leg, lambda: view.joined[0], grip_height=_HEAD, symmetry=_ROUND)
    yield from pick_foot(view, slip)
    yield from place_foot(view)
    yield from screw_in(
        view,
        foot,
        lambda: view.joined[1],
        grip_height=_FOOT_GRIP,
        grip_angle=_DIAGONAL,
        exact_from=_ABOVE_ARMS,
        min_width=_HELD,
        max_turns=24,
    )


def _free_angle(view: View) -> float:
    """Where on the rim the hand is farthest from the other parts, which it would push about."""

    def room(angle: float) -> float:
        place = view.parts[_TOP].position + _RIM * _direction(angle)
        return min(
            float(np.linalg.norm((view.parts[part].position - place)[:2])) for part in (_LEG, _FOOT)
        )

    return max(_RIM_ANGLES.tolist(), key=room)


def _direction(angle: float) -> Vector:
    return np.array([np.cos(angle), np.sin(angle), 0])


def pick_foot(view: View, slip: Vector) -> Plan:
    """Takes the foot from above, between its arms, whether it stands on its screw or leans."""

    def grasp(height: float) -> Pose:
        foot = view.parts[_FOOT]
        lean = Rotation.align_vectors([foot.axis(2)], [[0, 0, 1]])[0]
        across = (lean.inv() * foot.rotation).as_matrix()[:, 0]
        yaw = nearest_yaw(across, 0.0, np.pi / 2) + _DIAGONAL
        place = lean.apply([slip[0], slip[1], _FOOT_GRIP + height])
        return Pose(foot.position + place, lean * hand_pose(np.zeros(3), yaw).rotation)

    # Between the arms there is a millimetre of room around the open fingers.
    for _ in range(_MAX_TRIES):
        yield from reach(view, lambda: grasp(0.08), OPEN, near=0.015)
        for height in (0.03, 0.02, 0.01):
            yield from reach(view, functools.partial(grasp, height), OPEN, near=0.002, turned=0.015)
        yield from reach(view, lambda: grasp(0.0), OPEN)
        yield from switch(view, SHUT)
        yield from reach(view, at(view.hand.shifted(z=0.15)), SHUT, near=0.03)
        if view.width > _HELD:
            return
        yield from switch(view, OPEN)


def place_foot(view: View) -> Plan:
    """Stands the foot's screw in the leg."""
    axis = view.parts[_FOOT].axis(2)
    upright = Rotation.align_vectors([[0, 0, 1]], [axis])[0] * view.parts[_FOOT].rotation

    def over(height: float) -> Pose:
        seat = view.parts[_LEG].point(_FOOT_SEAT)
        return Pose(seat + [0, 0, _FOOT_CONTACT + height], upright)

    yield from plug_in(view, _FOOT, over)
