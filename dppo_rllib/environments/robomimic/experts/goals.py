"""What routes are made of: goals that do not depend on a task."""

from __future__ import annotations

from dppo_rllib.environments.robomimic.experts.arm import Arm, Goal, Waypoint
from dppo_rllib.environments.robomimic.experts.geometry import Poses, at_height
from dppo_rllib.environments.robomimic.simulation import Rows


def anywhere(arm: Arm, rows: Rows) -> Poses:
    """Wherever it is, turned as it set out."""
    return arm.hand[rows], arm.left_yaw[rows]


def still(arm: Arm, rows: Rows) -> Poses:
    """Where it set out."""
    return arm.left[rows], arm.left_yaw[rows]


def fingers(closed: bool, steps: int, hand: Goal = anywhere) -> Waypoint:
    """Moves the fingers."""
    return Waypoint(hand, closed, patience=steps, wait=steps)


def straight_up(height: float) -> Goal:
    """From where it is to this height of the world."""

    def goal(arm: Arm, rows: Rows) -> Poses:
        return at_height(arm.left[rows], height), arm.left_yaw[rows]

    return goal


def at_level(place: Goal, height: float) -> Goal:
    """Over or under another goal, at this height of the world."""

    def goal(arm: Arm, rows: Rows) -> Poses:
        position, yaw = place(arm, rows)
        return at_height(position, height), yaw

    return goal


def slowly(place: Goal, step: float) -> Goal:
    """Towards another goal, along each axis no further than this at once."""

    def goal(arm: Arm, rows: Rows) -> Poses:
        position, yaw = place(arm, rows)
        way = position - arm.hand[rows]
        return arm.hand[rows] + way.clip(-step, step), yaw

    return goal
