"""What experts share: from waypoint to waypoint, with a proportional controller in between."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.robomimic.experts.geometry import (
    Angles,
    Poses,
    Positions,
    at_height,
)
from dppo_rllib.environments.robomimic.osc import ORIENTATION_SCALE, POSITION_SCALE
from dppo_rllib.environments.robomimic.simulation import Rows
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv

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
