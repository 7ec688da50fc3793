"""An arm on its route: from waypoint to waypoint, with a proportional controller in between."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.robomimic.experts.geometry import Angles, Poses
from dppo_rllib.environments.robomimic.osc import ORIENTATION_SCALE, POSITION_SCALE
from dppo_rllib.environments.robomimic.simulation import Rows, Simulation

_SITE_POSITION, _SITE_AXES = operator.attrgetter("site_xpos"), operator.attrgetter("site_xmat")
# A hand that points downwards, its x axis along that of the world.
_DOWNWARDS = Rotation.from_euler("x", np.pi)
# A waypoint is reached within its tolerance, turned by no more than this, in radians.
_TURN_TOLERANCE = 0.1

# Of an arm in some copies where its hand shall be, and how it shall be turned about the vertical.
Goal = Callable[["Arm", Rows], Poses]


@dataclass(frozen=True)
class Waypoint:
    """Where an arm goes next.

    Attributes:
        goal: Where it is.
        closed: Whether the fingers close.
        tolerance: How near is there, in metres.
        patience: Steps after which it goes on all the same.
        wait: Steps before which it does not go on.
        together: Whether it waits here for the other arms, each at such a waypoint of its own, to
            go on with them.
    """

    goal: Goal
    closed: bool
    tolerance: float = 0.01
    patience: int = 1000
    wait: int = 1
    together: bool = False


Route = tuple[Waypoint, ...]


class Arm:
    """One of the arms, in all copies of an environment; what it does there it remembers by copy.

    Args:
        simulation: The copies.
        number: Which of the arms.
        route: Its waypoints, in order.
        gain: How many times as far as to its goal the hand is told to go.

    Attributes:
        hand: Where the hand is, `[N, 3]`.
        yaw: How it is turned about the vertical, `[N]`.
        left: Where the hand was when the way to the present waypoint began, `[N, 3]`.
        left_yaw: How it was turned there, `[N]`.
        grasp_offset: How far off it grasps, `[N, 3]`.
        place_offset: How far off it lays down, `[N, 3]`.
    """

    def __init__(self, simulation: Simulation, number: int, route: Route, gain: float):
        self._simulation, self._site = simulation, simulation.scene.arms.hands[number]
        self._route, self._gain, num_envs = route, gain, len(simulation.datas)
        self.hand, self.yaw = np.zeros((num_envs, 3)), np.zeros(num_envs)
        self.left, self.left_yaw = self.hand.copy(), self.yaw.copy()
        self.grasp_offset, self.place_offset = self.hand.copy(), self.hand.copy()
        self._waypoint = np.zeros(num_envs, np.int64)
        self._time = np.zeros(num_envs, np.int64)

    def begin(self, rows: Rows) -> None:
        """Episodes have begun in some copies."""
        self._see(rows)
        self._set_out(rows, np.zeros(len(rows), np.int64))

    def act(self, rows: Rows) -> tuple[Float[np.ndarray, "n 7"], Bool[np.ndarray, " n"]]:
        """The next actions in some copies, and in which of them a waypoint is done with."""
        axes = self._see(rows)
        goal, yaw = np.empty((len(rows), 3)), np.empty(len(rows))
        current = self._waypoint[rows]
        for number in np.unique(current):
            here = current == number
            goal[here], yaw[here] = self._route[number].goal(self, rows[here])
        way = goal - self.hand[rows]
        upright = Rotation.from_euler("z", yaw[:, None]) * _DOWNWARDS
        turn = (upright * Rotation.from_matrix(axes).inv()).as_rotvec()
        fingers = np.where([self._route[number].closed for number in current], 1.0, -1.0)
        move, rotate = self._gain * way / POSITION_SCALE, self._gain * turn / ORIENTATION_SCALE
        done = self._done(rows, np.linalg.norm(way, axis=-1), np.linalg.norm(turn, axis=-1))
        return np.concatenate([move, rotate, fingers[:, None]], axis=-1).clip(-1, 1), done

    def waits_for_others(self, rows: Rows) -> Bool[np.ndarray, " n"]:
        """In which copies it goes on only together with the other arms."""
        return np.array([self._route[number].together for number in self._waypoint[rows]], bool)

    def go_on(self, rows: Rows) -> None:
        """Turns to the next waypoint in some copies; the last one is for good."""
        rows = rows[self._waypoint[rows] < len(self._route) - 1]
        self._set_out(rows, self._waypoint[rows] + 1)

    def _set_out(self, rows: Rows, waypoints: Rows) -> None:
        self._waypoint[rows], self._time[rows] = waypoints, 0
        self.left[rows], self.left_yaw[rows] = self.hand[rows], self.yaw[rows]

    def _see(self, rows: Rows) -> Float[np.ndarray, "n 3 3"]:
        """Remembers where hands are; returns their axes."""
        self.hand[rows] = self._simulation.gather(_SITE_POSITION, self._site, rows)
        axes = self._simulation.gather(_SITE_AXES, self._site, rows).reshape(-1, 3, 3)
        self.yaw[rows] = np.arctan2(axes[:, 1, 0], axes[:, 0, 0])
        return axes

    def _done(self, rows: Rows, distance: Angles, turn: Angles) -> Bool[np.ndarray, " n"]:
        """Where a waypoint is reached, or has been tried for long enough."""
        self._time[rows] += 1
        time, done = self._time[rows], np.zeros(len(rows), bool)
        for i, number in enumerate(self._waypoint[rows]):
            waypoint = self._route[number]
            there = distance[i] < waypoint.tolerance and turn[i] < _TURN_TOLERANCE
            done[i] = time[i] >= waypoint.wait and (there or time[i] >= waypoint.patience)
        return done
