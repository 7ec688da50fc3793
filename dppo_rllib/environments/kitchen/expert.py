"""A scripted expert for the kitchen, which follows routes by inverse kinematics.

It sees the simulation as it is, without the noise of observations, and knows the arm's model: what
gravity takes it gives back. It is as imperfect as it is told to be: where it goes is drawn anew
for each episode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.kitchen.routes import ROUTES, Waypoint
from dppo_rllib.environments.kitchen.scene import Rows, position_limits
from dppo_rllib.environments.kitchen.subtasks import NUM_ARM
from dppo_rllib.environments.kitchen.vector_env import MAX_SPEED, KitchenVectorEnv
from dppo_rllib.environments.physics import mujoco

_HAND = "end_effector"
_JOINTS = 7  # of the arm, without fingers
# A hand that points away from the robot, its fingers side by side, as at the start.
_AHEAD = Rotation.from_matrix([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
_POSITION_GAIN, _TURN_GAIN, _POSTURE_GAIN = 8.0, 3.0, 0.5  # per second
_MAX_TURN = 1.5  # about each axis, in rad/s
_ERROR = 0.005  # standard deviation of where it goes, in metres
# Of inverse kinematics, for position, turn and posture: the later, the less it matters.
_DAMPINGS = (1e-3, 2e-2, 1e-1)
_OPEN, _CLOSED = 1.0, -1.0


@dataclass
class _Walk:
    """What a copy has to do, and how far it is.

    Attributes:
        waypoints: All of them, in order, with the number of the subtask that each belongs to.
        errors: How far beside each it goes.
        posture: Of the arm's joints, to which it tends.
        current: Of the waypoints, the one under way.
        steps: Since it set out for it.
        goal: Where it is; None before it sets out.
    """

    waypoints: list[tuple[int, Waypoint]]
    errors: Float[np.ndarray, "waypoints 3"]
    posture: Float[np.ndarray, "7"]
    current: int = 0
    steps: int = 0
    goal: Float[np.ndarray, "3"] | None = None


class KitchenExpert:
    """Does an environment's subtasks in the order of their names; a `ScriptedExpert`.

    Args:
        env: The copies.
        imperfection: Multiplies how far beside its waypoints it goes; 0 is as good as it gets.

    Attributes:
        max_steps: Of an episode.
        noise_scale: How much noise each action bears: none on those of the fingers, `[9]`.

    Raises:
        ValueError: It cannot do one of the subtasks, or the imperfection is negative or not
            finite.
    """

    max_steps = 280
    noise_scale: Float[np.ndarray, "9"] = np.where(np.arange(NUM_ARM) < _JOINTS, 1.0, 0.0)

    def __init__(self, env: KitchenVectorEnv, imperfection: float = 1.0):
        if unknown := sorted(set(env.subtasks.names) - set(ROUTES)):
            raise ValueError(f"subtasks={unknown}: expected some of {sorted(ROUTES)}")
        if not 0 <= imperfection < np.inf:
            raise ValueError(f"imperfection={imperfection}: expected a number from 0")
        self._kitchens, self._subtasks = env.kitchens, env.subtasks
        self._imperfection = imperfection
        self._hand = env.kitchens.model.site(_HAND).id
        self._stiffness = env.kitchens.model.actuator_gainprm[:_JOINTS, 0]
        self._limits = position_limits()[:_JOINTS]
        self._walks: dict[int, _Walk] = {}

    def begin(self, rows: Rows, generators: Sequence[np.random.Generator]) -> None:
        """Episodes have begun in some copies; a generator draws the errors of each."""
        names = enumerate(self._subtasks.names)
        waypoints = [(number, point) for number, name in names for point in ROUTES[name]]
        scale = _ERROR * self._imperfection
        for row, generator in zip(rows.tolist(), generators, strict=True):
            errors = scale * generator.normal(size=(len(waypoints), 3))
            posture = self._kitchens.datas[row].qpos[:_JOINTS].copy()
            self._walks[row] = _Walk(waypoints, errors, posture)

    def act(self, rows: Rows) -> Float[np.ndarray, "n 9"]:
        """The next actions of some copies; to be called once a step."""
        actions = [self._act(self._kitchens.datas[r], self._walks[r]) for r in rows.tolist()]
        return np.array(actions).reshape(-1, NUM_ARM)

    def _act(self, data: Any, walk: _Walk) -> Float[np.ndarray, "9"]:
        _, waypoint = walk.waypoints[walk.current]
        if walk.goal is None:
            walk.goal = data.site(waypoint.site).xpos + waypoint.offset + walk.errors[walk.current]
        way = walk.goal - data.site_xpos[self._hand]
        hand = Rotation.from_matrix(data.site_xmat[self._hand].reshape(3, 3))
        turn = (Rotation.from_euler("z", waypoint.yaw) * _AHEAD * hand.inv()).as_rotvec()
        distance = float(np.linalg.norm(way))
        velocity = min(_POSITION_GAIN, waypoint.speed / max(distance, 1e-9)) * way
        turning = (_TURN_GAIN * turn).clip(-_MAX_TURN, _MAX_TURN)
        speeds = self._joint_speeds(data, velocity, turning, walk.posture)
        self._go_on(data, walk, distance)
        fingers = _CLOSED if waypoint.closed else _OPEN
        return np.concatenate([speeds / MAX_SPEED, [fingers, fingers]]).clip(-1, 1)

    def _go_on(self, data: Any, walk: _Walk, distance: float) -> None:
        """Turns to the next waypoint where this one is over; the last one is for good."""
        number, waypoint = walk.waypoints[walk.current]
        done = waypoint.works and self._subtasks.done(data.qpos[None])[0, number]
        walk.steps += 1
        over = done or distance < waypoint.tolerance or walk.steps >= waypoint.patience
        if over and walk.current < len(walk.waypoints) - 1:
            walk.current, walk.steps, walk.goal = walk.current + 1, 0, None

    def _joint_speeds(
        self,
        data: Any,
        velocity: Float[np.ndarray, "3"],
        turning: Float[np.ndarray, "3"],
        posture: Float[np.ndarray, "7"],
    ) -> Float[np.ndarray, "7"]:
        """That move the hand so, turn it as far as is left, and keep the arm in shape.

        A joint that is at its limit is left out. Speeds are raised by what gravity makes of them:
        motors pull towards a position like springs.
        """
        jacobian = np.zeros((6, self._kitchens.model.nv))
        mujoco.mj_jacSite(self._kitchens.model, data, jacobian[:3], jacobian[3:], self._hand)
        linear, angular = jacobian[:3, :_JOINTS], jacobian[3:, :_JOINTS]
        positions, seconds = data.qpos[:_JOINTS], self._kitchens.seconds
        sag = data.qfrc_bias[:_JOINTS] / self._stiffness
        tasks = (
            (linear, velocity),
            (angular, turning),
            (np.eye(_JOINTS), _POSTURE_GAIN * (posture - positions)),
        )
        movable = np.ones(_JOINTS)
        while True:
            speeds = _prioritized(tasks, movable)
            wanted = positions + sag + speeds * seconds
            beyond = (wanted > self._limits[:, 1]) & (speeds > 0)
            beyond |= (wanted < self._limits[:, 0]) & (speeds < 0)
            if not beyond.any():
                return speeds + sag / seconds
            movable[beyond] = 0


def _prioritized(
    tasks: Sequence[tuple[np.ndarray, np.ndarray]], movable: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Joint speeds that fulfil tasks, each in what the ones before it leave free.

    Args:
        tasks: Jacobians, and the speeds that they shall come to.
        movable: 1 for joints that may move, 0 for others.
    """
    speeds, free = np.zeros(len(movable)), np.diag(movable)
    for (jacobian, wanted), damping in zip(tasks, _DAMPINGS, strict=True):
        within = jacobian @ free
        inverse = within.T @ np.linalg.inv(within @ within.T + damping * np.eye(len(within)))
        speeds = speeds + inverse @ (wanted - jacobian @ speeds)
        free = free - inverse @ within
    return speeds
