"""Turning a screw in, grasp by grasp."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from dppo_rllib.environments.furniture.assemblies import Joint
from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    SHUT,
    Plan,
    Pose,
    Vector,
    View,
    approach,
    hand_pose,
    nearest_yaw,
    reach,
    retreat,
    switch,
)

# The hand turns from the first yaw to the second.
_FROM, _TO = np.radians(60), np.radians(-65)
_PRESS, _SEATED = 0.006, -0.0005
# The hand stays where the hole was when it grasped, and presses from there into the corner: what
# the part is screwed into would turn with it, and wander away, if it did not lie against both bars.
_INTO_CORNER = np.array([0.002, 0.002, 0])


def screw_in(
    view: View,
    joint: Joint,
    joined: Callable[[], bool],
    *,
    grip_height: float = 0.0,
    grip_angle: float = 0.0,
    symmetry: float = np.pi / 2,
    exact_from: float | None = None,
    min_width: float = 0.0,
    max_turns: int = 16,
) -> Plan:
    """Grasps an upright part from above and turns it clockwise, again and again, until it sits.

    It is pressed down until it is deeper than its place, where some parts sit. What is left then is
    turning alone, and pressing would turn what it is screwed into as well.

    Args:
        view: What is seen.
        joint: What is screwed into what.
        joined: Whether that is done.
        grip_height: Where the part is grasped above its origin (m).
        grip_angle: How the fingers' line is turned against its x axis then.
        symmetry: Angle after which it looks the same to the fingers.
        exact_from: At which height above that the hand is first brought exactly over it, for parts
            with little room for fingers (m).
        min_width: Between fingers that hold it; where there is less they are opened again (m).
        max_turns: Grasps until this is given up.
    """
    part = joint.part

    def grasp(height: float = 0.0) -> Pose:
        yaw = nearest_yaw(view.parts[part].axis(0), _FROM - grip_angle, symmetry) + grip_angle
        return hand_pose(view.parts[part].position + [0, 0, grip_height + height], yaw)

    def turned(axis: Vector) -> Pose:
        press = _PRESS if _height(view, joint) > _SEATED else 0.0
        height = view.parts[part].position[2] + grip_height - press
        return hand_pose(np.array([*(axis + _INTO_CORNER)[:2], height]), _TO)

    for _ in range(max_turns):
        if exact_from is not None:
            yield from reach(view, lambda: grasp(0.06), OPEN, near=0.01)
            yield from reach(view, lambda: grasp(exact_from), OPEN, near=0.003, turned=0.02)
        yield from approach(view, grasp, 0.06, max_steps=30)
        yield from switch(view, SHUT)
        if view.width >= min_width:
            goal = functools.partial(turned, _seat(view, joint))
            yield from reach(view, goal, SHUT, near=0.02, turned=0.2, max_steps=30)
        yield from switch(view, OPEN)
        if joined():
            break
    yield from retreat(view, 0.08)


def _height(view: View, joint: Joint) -> float:
    """How far above its place a part is (m)."""
    return float(view.parts[joint.part].position[2] - _seat(view, joint)[2])


def _seat(view: View, joint: Joint) -> Vector:
    """The place that is nearest to the part."""
    part = view.parts[joint.part].position
    places = [view.parts[joint.base].point(np.array(place)) for place in joint.positions]
    return min(places, key=lambda place: float(np.linalg.norm(part - place)))
