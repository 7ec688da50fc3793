"""What experts are made of: where things are, and moves that end when they are done.

An expert is a generator that yields an action for each control step and looks at the world again
when it goes on. Poses are in the robot's frame: x forwards, y to the left, z up, origin at its
base; lengths in metres, angles in radians.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.scene import BASE

OPEN, SHUT = -1.0, 1.0
# How far ahead of the hand a target may be; the servos make about 40 % of it in a step.
_MAX_SHIFT, _MAX_TURN = 0.08, 0.6

NEUTRAL_YAW = np.radians(40)
# How far below a part its target is while it sinks; it makes 40 % of that in a step, and stands
# once it makes less than the second (m).
_SINK, _STANDS, _MAX_SINK_STEPS = 0.005, 0.0005, 20
# Fingers that move less in a step stand still (m); how many steps that may take.
_FINGERS_STILL, _MAX_FINGER_STEPS = 0.0005, 8
# Nothing is between the fingers (m).
EMPTY = 0.003

Action = Float[np.ndarray, "10"]
Vector = Float[np.ndarray, "3"]
Plan = Generator[Action, None, None]


@dataclass(frozen=True)
class Pose:
    """Where something is.

    Attributes:
        position: Of its origin.
        rotation: Of its axes.
    """

    position: Vector
    rotation: Rotation

    def __matmul__(self, other: Pose) -> Pose:
        """A pose in this one's frame, in the frame that this one is in."""
        return Pose(
            self.position + self.rotation.apply(other.position), self.rotation * other.rotation
        )

    def inverse(self) -> Pose:
        """The frame that this pose is in, seen from it."""
        back = self.rotation.inv()
        return Pose(-back.apply(self.position), back)

    def shifted(self, x: float = 0, y: float = 0, z: float = 0) -> Pose:
        """Moved along the robot's axes."""
        return Pose(self.position + np.array([x, y, z]), self.rotation)

    def point(self, offset: Vector) -> Vector:
        """A point given in its frame, in the frame that this pose is in."""
        return self.position + self.rotation.apply(offset)

    def axis(self, index: int) -> Vector:
        """Direction of one of its axes."""
        return self.rotation.as_matrix()[:, index]


def hand_pose(position: Vector, yaw: float, tilt: float = 0.0) -> Pose:
    """The hand at a point: pointing down, its fingers' line turned by `yaw` from y, then tilted.

    With a tilt, about y, below 0 it points forwards; above 0 back to the robot.
    """
    down = Rotation.from_euler("z", yaw) * Rotation.from_euler("x", np.pi)
    return Pose(np.asarray(position, float), Rotation.from_euler("y", tilt) * down)


@dataclass
class View:
    """What an expert sees of its copy, before every step.

    Attributes:
        hand: The point between the fingertips.
        width: Of the gripper.
        parts: Of all parts.
        obstacle: The middle of its front bar.
        joined: Which pairs have been joined in this episode.
    """

    hand: Pose
    width: float
    parts: list[Pose]
    obstacle: Vector
    joined: list[bool]


def read_pose(pose: Float[np.ndarray, "7"]) -> Pose:
    """Of the world's position and quaternion (w, x, y, z)."""
    return Pose(pose[:3] - BASE, Rotation.from_quat(pose[[4, 5, 6, 3]]))


def towards(hand: Pose, goal: Pose, grip: float) -> Action:
    """The action that brings the hand nearer to a goal, at a limited speed."""
    shift = goal.position - hand.position
    shift *= min(1.0, _MAX_SHIFT / max(float(np.linalg.norm(shift)), 1e-9))
    turn = (goal.rotation * hand.rotation.inv()).as_rotvec()
    turn *= min(1.0, _MAX_TURN / max(float(np.linalg.norm(turn)), 1e-9))
    rotation = Rotation.from_rotvec(turn) * hand.rotation
    return np.concatenate([hand.position + shift, rotation.as_matrix()[:2].ravel(), [grip]])


def reach(
    view: View,
    goal: Callable[[], Pose],
    grip: float,
    *,
    near: float = 0.006,
    turned: float = 0.06,
    max_steps: int = 40,
) -> Plan:
    """Moves the hand until it is near a goal, which is asked for anew in every step."""
    for _ in range(max_steps):
        target = goal()
        away = float(np.linalg.norm(target.position - view.hand.position))
        angle = (target.rotation * view.hand.rotation.inv()).magnitude()
        if away < near and angle < turned:
            return
        yield towards(view.hand, target, grip)


def switch(view: View, grip: float) -> Plan:
    """Opens or closes the fingers, and goes on when they no longer move.

    It does not count steps: what clones this could not see how many have passed.
    """
    here = view.hand
    for _ in range(_MAX_FINGER_STEPS):
        before = view.width
        yield towards(view.hand, here, grip)
        if abs(view.width - before) < _FINGERS_STILL:
            return


def retreat(view: View, height: float) -> Plan:
    """Lifts the open hand and turns it to the middle of what the wrist reaches.

    From there the shortest turn to anything that can be reached stays within the wrist's limits.
    """
    yield from reach(view, at(view.hand.shifted(z=height)), OPEN, near=0.02)
    yield from reach(
        view, at(hand_pose(view.hand.position, NEUTRAL_YAW)), OPEN, near=0.05, turned=1.0
    )


def at(goal: Pose) -> Callable[[], Pose]:
    """A goal that stays where it is."""
    return lambda: goal


def carry(view: View, part: int, goal: Callable[[], Pose]) -> Callable[[], Pose]:
    """Where the hand must be for the part between its fingers to be at a goal."""

    def target() -> Pose:
        return goal() @ view.parts[part].inverse() @ view.hand

    return target


def while_held(view: View, plan: Plan) -> Plan:
    """Goes on with a plan until what is held slips out: to follow it would fling the arm about."""
    for action in plan:
        if view.width < EMPTY:
            return
        yield action


def lower(
    view: View,
    part: int,
    place: Callable[[float], Pose],
    stages: Sequence[tuple[float, float]],
) -> Plan:
    """Brings a part that is held to one height after the other above a place.

    Args:
        view: What is seen.
        part: Which part.
        place: Where it shall be at a height (m).
        stages: Heights, and how near it must come before the next (m).
    """
    for height, near in stages:
        goal = carry(view, part, functools.partial(place, height))
        plan = reach(view, goal, SHUT, near=near, turned=max(0.03, 8 * near))
        yield from while_held(view, plan)


def set_down(view: View, part: int, place: Callable[[float], Pose]) -> Plan:
    """Sinks a part that is held until something carries it, then lets go.

    To press on would squeeze it out of the fingers, or push away what it stands on.

    Args:
        view: What is seen.
        part: Which part.
        place: Where it shall be at a height (m); the height does not matter here.
    """

    def below() -> Pose:
        goal, now = place(0.0), view.parts[part].position
        return Pose(np.array([*goal.position[:2], now[2] - _SINK]), goal.rotation)

    for step in range(_MAX_SINK_STEPS):
        if view.width < EMPTY:
            break
        before = view.parts[part].position[2]
        yield towards(view.hand, carry(view, part, below)(), SHUT)
        if step and before - view.parts[part].position[2] < _STANDS:
            break
    yield from switch(view, OPEN)


def nearest_yaw(direction: Vector, wanted: float, symmetry: float) -> float:
    """The yaw at which the fingers' line is parallel to a direction, nearest to a wanted one.

    Args:
        direction: In the plane.
        wanted: A yaw.
        symmetry: Angle after which the thing between the fingers looks the same.
    """
    yaw = float(np.arctan2(-direction[0], direction[1]))
    return yaw + symmetry * round((wanted - yaw) / symmetry)
