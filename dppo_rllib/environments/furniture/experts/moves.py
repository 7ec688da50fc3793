"""What experts are made of: where things are, and moves that end when they are done.

An expert is a generator that yields an action for each control step and looks at the world again
when it goes on. Poses are in the robot's frame: x forwards, y to the left, z up, origin at its
base; lengths in metres, angles in radians.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.scene import BASE

OPEN, SHUT = -1.0, 1.0
# How far ahead of the hand a target may be; the servos make about 40 % of it in a step.
_MAX_SHIFT, _MAX_TURN = 0.08, 0.6

NEUTRAL_YAW = np.radians(40)
# From where a part is lowered into a hole, where it is aligned, and from which height on it stands
# on the rim (m); how often it is lifted then.
_ABOVE, _JUST_ABOVE, _IN_HOLE, _MAX_PLUGS = 0.07, 0.012, 0.005, 3
# How far below a part its target is while it sinks; it makes 40 % of that in a step, and stands
# once it makes less than the second (m).
_SINK, _STANDS, _MAX_SINK_STEPS = 0.005, 0.0005, 20
# How much worse aligned than it must be something is where it keeps its whole distance (m, rad),
# and from which angle on it keeps some.
_FUNNEL, _ASKEW, _SPIN = 0.02, 0.12, 0.4
# What is lowered has arrived where it is so little above its place (m), and no worse aligned than
# noise may have it; what it may take.
_LOW_ENOUGH, _NEARLY, _MAX_LOWERING_STEPS = 0.004, 0.1, 80
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
        if _arrived(view.hand, target, near, turned):
            return
        yield towards(view.hand, target, grip)


def approach(
    view: View,
    goal: Callable[[], Pose],
    clearance: float,
    *,
    near: float = 0.01,
    turned: float = 0.15,
    room: float = 0.008,
    max_steps: int = 60,
) -> Plan:
    """Brings the open hand to a goal along its own axis, the nearer the better it is aligned.

    How far back it stays is a function of what is seen. Where it first went to a point above and
    then down, what clones this could not see which of both it was about.

    Args:
        view: What is seen.
        goal: Where the hand shall be.
        clearance: How far back it stays while it is not aligned (m).
        near: How near it must come (m).
        turned: How far it may be turned then (rad).
        room: How far beside the goal it is aligned (m).
        max_steps: Until this is given up.
    """
    for _ in range(max_steps):
        target = goal()
        if _arrived(view.hand, target, near, turned):
            return
        back = clearance * _askew(view.hand, target, target.axis(2), room)
        above = Pose(target.position - back * target.axis(2), target.rotation)
        yield towards(view.hand, above, OPEN)


def _askew(pose: Pose, goal: Pose, axis: Vector, room: float) -> float:
    """How badly something is aligned with a goal that it comes to along an axis, from 0 to 1."""
    offset = pose.position - goal.position
    beside = float(np.linalg.norm(offset - axis * (offset @ axis)))
    share = max((beside - room) / _FUNNEL, (_angle(goal, pose) - _ASKEW) / _SPIN)
    return float(np.clip(share, 0, 1))


def _arrived(hand: Pose, goal: Pose, near: float, turned: float) -> bool:
    away = float(np.linalg.norm(goal.position - hand.position))
    return away < near and _angle(goal, hand) < turned


def _angle(one: Pose, other: Pose) -> float:
    return float((one.rotation * other.rotation.inv()).magnitude())


def switch(view: View, grip: float) -> Plan:
    """Opens or closes the fingers, which takes a step.

    It does not wait until they stand still: what clones this could not see how long they have.
    """
    yield towards(view.hand, view.hand, grip)


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
    *,
    high: float,
    low: float,
    room: float = 0.003,
) -> Plan:
    """Brings a part that is held down to a place, the lower the better it is aligned with it.

    Args:
        view: What is seen.
        part: Which part.
        place: Where it shall be at a height (m).
        high: Where it stays while it is not aligned (m).
        low: Where this ends (m).
        room: How far beside its place it is aligned (m).
    """
    up = np.array([0, 0, 1.0])
    for _ in range(_MAX_LOWERING_STEPS):
        held, end = view.parts[part], place(low)
        askew = _askew(held, end, up, room)
        arrived = held.position[2] - end.position[2] < _LOW_ENOUGH and askew < _NEARLY
        if arrived or view.width < EMPTY:
            return
        goal = place(low + (high - low) * askew)
        yield towards(view.hand, carry(view, part, at(goal))(), SHUT)


def sink(view: View, part: int, place: Callable[[float], Pose]) -> Plan:
    """Sinks a part that is held until something carries it.

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
            return
        before = view.parts[part].position[2]
        yield towards(view.hand, carry(view, part, below)(), SHUT)
        if step and before - view.parts[part].position[2] < _STANDS:
            return


def plug_in(view: View, part: int, place: Callable[[float], Pose]) -> Plan:
    """Lowers a part that is held into a hole and lets go; lifts it again if it stands beside it.

    Args:
        view: What is seen.
        part: Which part.
        place: Where it shall be at a height above where threads meet (m).
    """
    for more in reversed(range(_MAX_PLUGS)):
        yield from lower(view, part, place, high=_ABOVE, low=_JUST_ABOVE)
        yield from sink(view, part, place)
        above = view.parts[part].position[2] - place(0.0).position[2]
        if above < _IN_HOLE or view.width < EMPTY or not more:
            break
        yield from reach(view, at(view.hand.shifted(z=0.03)), SHUT, near=0.01)
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
