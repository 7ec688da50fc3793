"""Turning a screw in, grasp by grasp."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    SHUT,
    Plan,
    Pose,
    View,
    at,
    hand_pose,
    nearest_yaw,
    reach,
    retreat,
    stay,
)

# The hand turns from the first yaw to the second.
_FROM, _TO = np.radians(60), np.radians(-65)
_PRESS = 0.006


def screw_in(
    view: View,
    part: int,
    joint: int,
    *,
    grip_height: float = 0.0,
    symmetry: float = np.pi / 2,
    max_turns: int = 14,
) -> Plan:
    """Grasps an upright part from above and turns it clockwise, again and again, until it sits.

    Args:
        view: What is seen.
        part: Which part; its y axis points up or down.
        joint: That is then joined.
        grip_height: Where it is grasped above its origin (m).
        symmetry: Angle after which it looks the same to the fingers.
        max_turns: Grasps until this is given up.
    """

    def grasp(height: float) -> Callable[[], Pose]:
        yaw = nearest_yaw(view.parts[part].axis(0), _FROM, symmetry)
        place = view.parts[part].position + [0, 0, grip_height + height]
        return at(hand_pose(place, yaw))

    def turned() -> Pose:
        place = view.parts[part].position + [0, 0, grip_height - _PRESS]
        return hand_pose(place, _TO)

    for _ in range(max_turns):
        if view.joined[joint]:
            return
        yield from reach(view, grasp(0.06), OPEN, near=0.01)
        yield from reach(view, grasp(0.0), OPEN, near=0.005, max_steps=15)
        yield from stay(view, SHUT, 4)
        yield from reach(view, turned, SHUT, near=0.02, turned=0.12, max_steps=30)
        yield from stay(view, OPEN, 3)
    yield from retreat(view, 0.08)
