"""Scripted experts: controllers that solve tasks by what they know of the simulation.

An expert goes from waypoint to waypoint, with a proportional controller in between. It sees poses
as they are, not observations: what it shows can be recorded in pictures too. It is as imperfect as
it is told to be: where it grasps and where it lays down is drawn anew for each episode, and what
has slipped out of the hand is not picked up again.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.robomimic.osc import ORIENTATION_SCALE, POSITION_SCALE
from dppo_rllib.environments.robomimic.simulation import Rows
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv

Positions = Float[np.ndarray, "n 3"]
Angles = Float[np.ndarray, " n"]
Poses = tuple[Positions, Angles]

_SITE_POSITION, _SITE_AXES = operator.attrgetter("site_xpos"), operator.attrgetter("site_xmat")
_BODY_POSITION, _BODY_AXES = operator.attrgetter("xpos"), operator.attrgetter("xmat")
_ARM_ACTIONS = 7
# A hand that points downwards, its x axis along that of the world.
_DOWNWARDS = Rotation.from_euler("x", np.pi)
# A waypoint is reached within its tolerance, turned by no more than this, in radians.
_TURN_TOLERANCE = 0.1


@dataclass(frozen=True)
class Waypoint:
    """Where an expert goes next.

    Attributes:
        goal: Of some copies where the hand shall be and how it shall be turned about the vertical.
        closed: Whether the fingers close.
        tolerance: How near is there, in metres.
        patience: Steps after which it goes on all the same.
        wait: Steps before which it does not go on.
    """

    goal: Callable[[Rows], Poses]
    closed: bool
    tolerance: float = 0.01
    patience: int = 1000
    wait: int = 1


class Expert(ABC):
    """Solves a task in the copies of an environment; what it does there it remembers by copy.

    Args:
        env: The copies.
        imperfection: Multiplies how far off it grasps and lays down: 0 is as good as it gets, 1 is
            meant for demonstrations.

    Attributes:
        max_steps: Of an episode; what has not been solved until then will not be.
        noise_scale: How much noise actions bear: none on those of the fingers, `[Da]`.

    Raises:
        ValueError: The imperfection is negative or not finite.
    """

    max_steps: int
    #: Standard deviations of where it grasps and where it lays down, in metres.
    grasp_error: float
    place_error: float

    def __init__(self, env: RobomimicVectorEnv, imperfection: float = 1.0):
        if not 0 <= imperfection < np.inf:
            raise ValueError(f"imperfection={imperfection}: expected a number from 0")
        self._imperfection = imperfection
        self._simulation, self._action_dim = env.simulation, env.task.action_dim
        self._waypoints = self._route()
        self._waypoint = np.zeros(env.num_envs, np.int64)
        self._time = np.zeros(env.num_envs, np.int64)
        self._hand, self._yaw = np.zeros((env.num_envs, 3)), np.zeros(env.num_envs)
        # Those where the way to the present waypoint began.
        self._left, self._left_yaw = self._hand.copy(), self._yaw.copy()
        self._grasp_offset = np.zeros((env.num_envs, 3))
        self._place_offset = np.zeros((env.num_envs, 3))

    @property
    def noise_scale(self) -> Float[np.ndarray, " Da"]:
        """See the class."""
        arm = np.arange(self._action_dim) % _ARM_ACTIONS != _ARM_ACTIONS - 1
        return arm.astype(np.float64)

    def begin(self, rows: Rows, generators: Sequence[np.random.Generator]) -> None:
        """Episodes have begun in some copies.

        Args:
            rows: Which.
            generators: Draw the imperfections of each.
        """
        self._waypoint[rows] = self._time[rows] = 0
        for row, generator in zip(rows, generators, strict=True):
            grasp, place = generator.normal(size=(2, 2)) * self._imperfection
            self._grasp_offset[row, :2] = self.grasp_error * grasp
            self._place_offset[row, :2] = self.place_error * place
        self._see(rows)
        self._left[rows], self._left_yaw[rows] = self._hand[rows], self._yaw[rows]

    def act(self, rows: Rows) -> Float[np.ndarray, "n Da"]:
        """The next actions of some copies, in [-1, 1]; to be called once a step."""
        axes = self._see(rows)
        goal, yaw = np.empty((len(rows), 3)), np.empty(len(rows))
        current = self._waypoint[rows]
        for number in np.unique(current):
            here = current == number
            goal[here], yaw[here] = self._waypoints[number].goal(rows[here])
        way = goal - self._hand[rows]
        upright = Rotation.from_euler("z", yaw[:, None]) * _DOWNWARDS
        turn = (upright * Rotation.from_matrix(axes).inv()).as_rotvec()
        fingers = np.where([self._waypoints[number].closed for number in current], 1.0, -1.0)
        actions = [way / POSITION_SCALE, turn / ORIENTATION_SCALE, fingers[:, None]]
        self._go_on(rows, np.linalg.norm(way, axis=-1), np.linalg.norm(turn, axis=-1))
        return np.concatenate(actions, axis=-1).clip(-1, 1)

    @abstractmethod
    def _route(self) -> tuple[Waypoint, ...]:
        """Waypoints, in order."""

    def _see(self, rows: Rows) -> Float[np.ndarray, "n 3 3"]:
        """Remembers where hands are; returns their axes."""
        hand = self._simulation.scene.arms.hands[0]
        self._hand[rows] = self._simulation.gather(_SITE_POSITION, hand, rows)
        axes = self._simulation.gather(_SITE_AXES, hand, rows).reshape(-1, 3, 3)
        self._yaw[rows] = np.arctan2(axes[:, 1, 0], axes[:, 0, 0])
        return axes

    def _go_on(self, rows: Rows, distance: Angles, turn: Angles) -> None:
        """Whoever has reached a waypoint turns to the next one; the last one is for good."""
        self._time[rows] += 1
        for row, far, turned in zip(rows, distance, turn, strict=True):
            waypoint, time = self._waypoints[self._waypoint[row]], self._time[row]
            there = far < waypoint.tolerance and turned < _TURN_TOLERANCE
            over = time >= waypoint.wait and (there or time >= waypoint.patience)
            if over and self._waypoint[row] < len(self._waypoints) - 1:
                self._waypoint[row] += 1
                self._time[row] = 0
                self._left[row], self._left_yaw[row] = self._hand[row], self._yaw[row]

    # --- What routes are made of ------------------------------------------------------------------

    def _fingers(self, closed: bool, steps: int) -> Waypoint:
        """Moves the fingers where it is."""
        return Waypoint(self._stay, closed, patience=steps, wait=steps)

    def _stay(self, rows: Rows) -> Poses:
        return self._hand[rows], self._left_yaw[rows]

    def _straight_up(self, height: float) -> Callable[[Rows], Poses]:
        """From where it is to this height of the world."""

        def goal(rows: Rows) -> Poses:
            return at_height(self._left[rows], height), self._left_yaw[rows]

        return goal

    def _body(self, name: str, rows: Rows) -> tuple[Positions, Angles]:
        """Where a body is, and where its x axis points to, seen from above."""
        body = self._simulation.scene.model.body(name).id
        axes = self._simulation.gather(_BODY_AXES, body, rows).reshape(-1, 3, 3)
        yaw = np.arctan2(axes[:, 1, 0], axes[:, 0, 0])
        return self._simulation.gather(_BODY_POSITION, body, rows), yaw

    def _site(self, name: str, rows: Rows) -> Positions:
        site = self._simulation.scene.model.site(name).id
        return self._simulation.gather(_SITE_POSITION, site, rows)


class LiftExpert(Expert):
    """Grasps the cube by the sides that are nearest, and raises it."""

    max_steps = 150
    grasp_error, place_error = 0.014, 0.0

    def _route(self) -> tuple[Waypoint, ...]:
        table = self._simulation.scene.env.table_offset[2]
        return (
            Waypoint(self._over_cube(0.08), False, tolerance=0.015, patience=60),
            Waypoint(self._over_cube(0.0), False, tolerance=0.008, patience=40),
            self._fingers(True, steps=6),
            Waypoint(self._straight_up(table + 0.25), True),
        )

    def _over_cube(self, height: float) -> Callable[[Rows], Poses]:
        def goal(rows: Rows) -> Poses:
            cube, yaw = self._body("cube_main", rows)
            return raised(cube + self._grasp_offset[rows], height), self._nearest(yaw, rows)

        return goal

    def _nearest(self, yaw: Angles, rows: Rows) -> Angles:
        return nearest_turn(yaw, self._left_yaw[rows], np.pi / 2)


class CanExpert(Expert):
    """Grasps the can from above and lets it go over its compartment."""

    max_steps = 250
    grasp_error, place_error = 0.011, 0.02

    def _route(self) -> tuple[Waypoint, ...]:
        env = self._simulation.scene.env
        # The middle of the compartment is out of reach.
        bin_ = env.target_bin_placements[env.object_id] - [0.04, 0.04, 0.0]
        above = float(bin_[2]) + 0.3
        return (
            Waypoint(self._over_can(0.12), False, tolerance=0.02, patience=80),
            Waypoint(self._over_can(0.01), False, tolerance=0.008, patience=50),
            self._fingers(True, steps=7),
            Waypoint(self._straight_up(above), True, tolerance=0.02, patience=50),
            Waypoint(self._over_bin(bin_, 0.3), True, tolerance=0.03, patience=80),
            Waypoint(self._over_bin(bin_, 0.16), True, tolerance=0.02, patience=40),
            self._fingers(False, steps=5),
            Waypoint(self._over_bin(bin_, 0.3), False),
        )

    def _over_can(self, height: float) -> Callable[[Rows], Poses]:
        def goal(rows: Rows) -> Poses:
            can, _ = self._body("Can_main", rows)
            return raised(can + self._grasp_offset[rows], height), self._left_yaw[rows]

        return goal

    def _over_bin(self, bin_: Float[np.ndarray, "3"], height: float) -> Callable[[Rows], Poses]:
        def goal(rows: Rows) -> Poses:
            return raised(bin_ + self._place_offset[rows], height), self._left_yaw[rows]

        return goal


class SquareExpert(Expert):
    """Grasps the nut by its handle, and threads it onto the peg.

    The hand is upright when the nut comes down: tilted, it would rest on the peg.
    """

    max_steps = 300
    grasp_error, place_error = 0.004, 0.002
    # Where the handle is free of the frame, from the middle of the nut.
    _GRASP = 0.062
    # Heights of the nut over the middle of the peg: before it comes down, where it waits until it
    # is where it should be, where it can no longer slip off, and where it is let go.
    _ABOVE, _WAITING, _THREADED, _DOWN = 0.18, 0.117, 0.104, 0.05
    # How far beside its place a nut may come down, in metres.
    _ALIGNED = 0.006

    def _route(self) -> tuple[Waypoint, ...]:
        table = self._simulation.scene.env.table_offset[2]
        return (
            Waypoint(self._over_handle(0.1), False, tolerance=0.012, patience=80),
            Waypoint(self._over_handle(0.0), False, tolerance=0.007, patience=50),
            self._fingers(True, steps=8),
            Waypoint(self._straight_up(table + 0.26), True, tolerance=0.02, patience=50),
            Waypoint(self._over_peg, True, tolerance=0.01, patience=120, wait=20),
            Waypoint(self._onto_peg, True, tolerance=0.005, patience=150),
            self._fingers(False, steps=5),
            Waypoint(self._straight_up(table + 0.28), False),
        )

    def _over_handle(self, height: float) -> Callable[[Rows], Poses]:
        def goal(rows: Rows) -> Poses:
            nut, turned = self._nut(rows)
            outwards = np.stack([np.cos(turned), np.sin(turned), np.zeros(len(rows))], axis=-1)
            grasp = nut + self._GRASP * outwards + self._grasp_offset[rows]
            # Fingers move along the hand's x axis, which is to lie across the handle.
            yaw = nearest_turn(turned + np.pi / 2, self._left_yaw[rows], np.pi)
            place = raised(grasp, height)
            # It comes down only over its goal: a finger would strike the handle.
            beside = np.linalg.norm((place - self._hand[rows])[:, :2], axis=-1)
            place[:, 2] += (5 * (beside - self._ALIGNED)).clip(0, 0.1 - height)
            return place, yaw

        return goal

    def _over_peg(self, rows: Rows) -> Poses:
        way, turn = self._way_of_nut(rows)
        way[:, 2] += self._ABOVE
        return self._bring(rows, way, turn)

    def _onto_peg(self, rows: Rows) -> Poses:
        way, turn = self._way_of_nut(rows)
        height = -way[:, 2]
        threaded = height < self._THREADED
        aligned = np.linalg.norm(way[:, :2], axis=-1) < self._ALIGNED
        way[:, 2] += np.where(threaded | aligned, self._DOWN, self._WAITING)
        way[threaded, :2] = 0  # the peg guides it
        return self._bring(rows, way, turn)

    def _bring(self, rows: Rows, way: Positions, turn: Angles) -> Poses:
        """Where the hand must be for the nut to go this way, slowly downwards, and turn so."""
        way[:, 2] = way[:, 2].clip(-0.02, 0.1)
        return self._hand[rows] + way, self._yaw[rows] + turn

    def _way_of_nut(self, rows: Rows) -> Poses:
        """From the nut to the middle of the peg, and how far it must turn to fit."""
        nut, turned = self._nut(rows)
        # With a handle that points away from the robot the peg is out of reach.
        turns = wrapped(np.array([-np.pi / 2, np.pi / 2, np.pi]) - turned[:, None])
        turn = turns[np.arange(len(rows)), np.abs(turns).argmin(axis=-1)]
        return self._body("peg1", rows)[0] + self._place_offset[rows] - nut, turn

    def _nut(self, rows: Rows) -> Poses:
        """Where the nut is, and where its handle points to."""
        nut, _ = self._body("SquareNut_main", rows)
        away = self._site("SquareNut_handle_site", rows) - nut
        return nut, np.arctan2(away[:, 1], away[:, 0])


EXPERTS: dict[str, type[Expert]] = {"lift": LiftExpert, "can": CanExpert, "square": SquareExpert}


def make_expert(env: RobomimicVectorEnv, imperfection: float = 1.0) -> Expert:
    """The expert of an environment's task; see `Expert`.

    Raises:
        ValueError: It has none, or the imperfection is negative or not finite.
    """
    if env.task.name not in EXPERTS:
        raise ValueError(f"task={env.task.name!r}: expected one of {sorted(EXPERTS)}")
    return EXPERTS[env.task.name](env, imperfection)


def raised(positions: Positions, height: float) -> Positions:
    """So much higher."""
    return positions + [0.0, 0.0, height]


def at_height(positions: Positions, height: float) -> Positions:
    """With this height."""
    return np.concatenate([positions[:, :2], np.full((len(positions), 1), height)], axis=-1)


def nearest_turn(angles: Angles, to: Angles, period: float) -> Angles:
    """Of angles that are the same up to multiples of a period those nearest to others."""
    return angles + np.round((to - angles) / period) * period


def wrapped(angles: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """From -pi to pi."""
    return np.arctan2(np.sin(angles), np.cos(angles))
