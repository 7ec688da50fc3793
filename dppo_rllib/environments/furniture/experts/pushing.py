"""Pushing what the others are screwed into against the obstacle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    SHUT,
    Plan,
    Pose,
    View,
    approach,
    at,
    carry,
    reach,
    retreat,
    switch,
    while_held,
)

# Beyond the corner, so that the part touches both bars.
_FIRMLY = np.array([0.008, 0.008, 0])
_BAR, _INNER_WIDTH = 0.01, 0.165
# How far from there a part may stay, and how often it is pushed until it does: another part may
# lie in its way, and is pushed aside.
_IN_CORNER, _MAX_PUSHES = 0.02, 3


def square_angle(pose: Pose, axis: int = 0) -> float:
    """How far a square is turned about the vertical, in [-45°, 45°]; `axis` is one along a side."""
    side = pose.axis(axis)
    angle = float(np.arctan2(side[1], side[0]))
    return angle - np.pi / 2 * round(angle / (np.pi / 2))


def push_into_corner(
    view: View, part: int, grasp: Callable[[], Pose], half: float, *, straighten: bool = True
) -> Plan:
    """Grips a part and pushes it into the obstacle's far left corner.

    Args:
        view: What is seen.
        part: Which part.
        grasp: Where the hand grips it.
        half: Half the part's width (m).
        straighten: Whether its sides are to be parallel to the bars.
    """
    corner = view.obstacle + np.array([-_BAR - half, _INNER_WIDTH - half, 0]) + _FIRMLY
    for _ in range(_MAX_PUSHES):
        yield from approach(view, grasp, 0.08)
        yield from switch(view, SHUT)
        held = view.parts[part]
        turn = Rotation.from_euler("z", -square_angle(held) if straighten else 0.0)
        corner[2] = held.position[2]
        goal = Pose(corner, turn * held.rotation)
        push = reach(view, carry(view, part, at(goal)), SHUT, near=0.012)
        yield from while_held(view, push)
        yield from switch(view, OPEN)
        yield from retreat(view, 0.1)
        if np.linalg.norm((view.parts[part].position - corner)[:2]) < _IN_CORNER:
            return
