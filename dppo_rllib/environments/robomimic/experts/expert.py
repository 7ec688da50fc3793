"""What experts share: arms on their routes, and how far off they are."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from dppo_rllib.environments.robomimic.experts.arm import Arm, Route
from dppo_rllib.environments.robomimic.experts.geometry import Angles, Positions
from dppo_rllib.environments.robomimic.simulation import Rows
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv

_SITE_POSITION = operator.attrgetter("site_xpos")
_BODY_POSITION, _BODY_AXES = operator.attrgetter("xpos"), operator.attrgetter("xmat")
_ARM_ACTIONS = 7


class Expert(ABC):
    """Solves a task in the copies of an environment.

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
    #: How many times as far as to its goal a hand is told to go.
    gain = 1.0

    def __init__(self, env: RobomimicVectorEnv, imperfection: float = 1.0):
        if not 0 <= imperfection < np.inf:
            raise ValueError(f"imperfection={imperfection}: expected a number from 0")
        self._imperfection = imperfection
        self._simulation = env.simulation
        self._arms = [
            Arm(env.simulation, number, route, self.gain)
            for number, route in enumerate(self._routes())
        ]

    @property
    def noise_scale(self) -> Float[np.ndarray, " Da"]:
        """See the class."""
        return np.tile([1.0] * (_ARM_ACTIONS - 1) + [0.0], len(self._arms))

    def begin(self, rows: Rows, generators: Sequence[np.random.Generator]) -> None:
        """Episodes have begun in some copies.

        Args:
            rows: Which.
            generators: Draw the imperfections of each.
        """
        for row, generator in zip(rows, generators, strict=True):
            errors = generator.normal(size=(len(self._arms), 2, 2)) * self._imperfection
            for arm, (grasp, place) in zip(self._arms, errors, strict=True):
                arm.grasp_offset[row, :2] = self.grasp_error * grasp
                arm.place_offset[row, :2] = self.place_error * place
        for arm in self._arms:
            arm.begin(rows)

    def act(self, rows: Rows) -> Float[np.ndarray, "n Da"]:
        """The next actions of some copies, in [-1, 1]; to be called once a step."""
        acted = [arm.act(rows) for arm in self._arms]
        done = np.array([done for _, done in acted])
        waiting = np.array([arm.waits_for_others(rows) for arm in self._arms])
        all_wait = (done & waiting).all(axis=0)
        for arm, goes_on in zip(self._arms, done & (~waiting | all_wait), strict=True):
            arm.go_on(rows[goes_on])
        return np.concatenate([actions for actions, _ in acted], axis=-1)

    @abstractmethod
    def _routes(self) -> tuple[Route, ...]:
        """Of every arm its waypoints, in order."""

    def _body(self, name: str, rows: Rows) -> tuple[Positions, Angles]:
        """Where a body is, and where its x axis points to, seen from above."""
        axes = self._body_axes(name, rows)
        yaw = np.arctan2(axes[:, 1, 0], axes[:, 0, 0])
        body = self._simulation.scene.model.body(name).id
        return self._simulation.gather(_BODY_POSITION, body, rows), yaw

    def _body_axes(self, name: str, rows: Rows) -> Float[np.ndarray, "n 3 3"]:
        body = self._simulation.scene.model.body(name).id
        return self._simulation.gather(_BODY_AXES, body, rows).reshape(-1, 3, 3)

    def _site(self, name: str, rows: Rows) -> Positions:
        site = self._simulation.scene.model.site(name).id
        return self._simulation.gather(_SITE_POSITION, site, rows)
