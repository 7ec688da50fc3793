"""Taking a screw that lies on the table, and standing it in a threaded hole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    SHUT,
    Plan,
    Pose,
    Vector,
    View,
    approach,
    at,
    hand_pose,
    plug_in,
    reach,
    retreat,
    switch,
)

# The hand leans back to the robot where a screw lies, and forwards where it stands.
_GRASP_TILT, _INSERT_TILT = np.radians(66), np.radians(-24)
# Headings from which a part can be picked, and yaws that the wrist reaches.
_STRAIGHT, _REACHABLE = np.radians(25), (np.radians(-70), np.radians(150))
_MAX_TURNS, _NEAR = 3, 0.43
# How far up an axis points that stands, and how often a screw is picked until it does.
_STANDING, _MAX_TRIES = 0.9, 3


def stand_in(
    view: View,
    part: int,
    hole: Callable[[], Vector],
    contact: float,
    slip: Vector,
    *,
    along: float,
) -> Plan:
    """Stands a screw that lies on the table in its hole, and tries again if it slips away.

    Args:
        view: What is seen.
        part: Which part.
        hole: Where its origin belongs once assembled.
        contact: How far above that threads meet (m).
        slip: How far off it is grasped (m).
        along: Where on its y axis it is picked (m).
    """
    for _ in range(_MAX_TRIES):
        yield from turn_around(view, part, slip)
        yield from pick_lying(view, part, slip, along=along)
        yield from insert(view, part, hole, contact)
        if view.parts[part].axis(1)[2] > _STANDING:
            return
        yield from retreat(view, 0.1)


def turn_around(view: View, part: int, slip: Vector, *, along: float = 0.0) -> Plan:
    """Turns and pulls a part that lies until its y axis points forwards, near the robot.

    Otherwise the arm could not lean back far enough to pick it.

    Args:
        view: What is seen.
        part: Which part.
        slip: How far off it is grasped (m).
        along: Where on its y axis (m).
    """
    for _ in range(_MAX_TURNS):
        heading = _heading(view.parts[part])
        if abs(heading) < _STRAIGHT and view.parts[part].position[0] < _NEAR:
            return
        # The fingers' line is across the part; of both ways to grasp it that which can be turned.
        first, last = _REACHABLE
        turn = -np.sign(heading) * min(abs(heading), last - first - 0.2)
        lowest, highest = max(first, first - turn), min(last, last - turn)
        yaw = heading + np.pi * round(((lowest + highest) / 2 - heading) / np.pi)
        yaw = float(np.clip(yaw, lowest, highest))

        def grasp(yaw: float = yaw) -> Pose:
            place = view.parts[part].point(np.array([0, along, 0])) + [slip[0], slip[1], 0]
            return hand_pose(place, yaw)

        yield from approach(view, grasp, 0.08, near=0.006, turned=0.06)
        yield from switch(view, SHUT)
        x, y, z = view.hand.position
        goal = hand_pose(np.array([min(x, _NEAR - 0.04), y, z + 0.02]), yaw + turn)
        yield from reach(view, at(goal), SHUT, near=0.01, turned=0.1)
        yield from reach(view, at(goal.shifted(z=-0.018)), SHUT, max_steps=8)
        yield from switch(view, OPEN)
        yield from retreat(view, 0.08)


def _heading(pose: Pose) -> float:
    """Where the y axis points in the plane; 0 is forwards."""
    axis = pose.axis(1)
    return float(np.arctan2(axis[1], axis[0]))


def pick_lying(view: View, part: int, slip: Vector, *, along: float = 0.0) -> Plan:
    """Takes a part that lies with its y axis forwards, so that it can be stood upright.

    Args:
        view: What is seen.
        part: Which part.
        slip: How far off it is grasped (m).
        along: Where on its y axis (m).
    """
    tilted = hand_pose(np.zeros(3), 0.0, _GRASP_TILT).rotation

    def grasp() -> Pose:
        lying = view.parts[part]
        lean = Rotation.from_euler("z", _heading(lying))
        # Of what is round the middle is gripped: beside it fingers would squeeze it out.
        place = lying.point(np.array([0, along + slip[0], 0])) + [0, 0, 0.002]
        return Pose(place, lean * tilted)

    yield from approach(view, grasp, 0.07, near=0.006, turned=0.06)
    yield from switch(view, SHUT)
    yield from reach(view, at(view.hand.shifted(z=0.12)), SHUT, near=0.02)


def insert(view: View, part: int, hole: Callable[[], Vector], contact: float) -> Plan:
    """Stands a part that is held upright over a hole, lowers it and lets go.

    Args:
        view: What is seen.
        part: Which part; its screw is at the low end of its y axis.
        hole: Where the part's origin belongs once assembled.
        contact: How far above that threads meet (m).
    """
    leaning = hand_pose(np.zeros(3), 0.0, _INSERT_TILT).rotation
    in_hand = view.hand.rotation.inv() * view.parts[part].rotation
    lean = Rotation.align_vectors([[0, 0, 1]], [(leaning * in_hand).as_matrix()[:, 1]])[0]
    upright = lean * leaning * in_hand

    def over(height: float) -> Pose:
        return Pose(hole() + [0, 0, contact + height], upright)

    yield from plug_in(view, part, over)
    back = Pose(view.hand.position - 0.06 * view.hand.axis(2), view.hand.rotation)
    yield from reach(view, at(back), OPEN, near=0.02)
