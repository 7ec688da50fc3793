"""What Gymnasium's locomotion environments show and pay, and when they end: of many steps at once.

Every operation is the one that Gymnasium does for a single step, in its order and with its types,
so that results are equal to the bit.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from jaxtyping import Bool, Float

_EVERYTHING = (-math.inf, math.inf)


class Robot(NamedTuple):
    """How a class of Gymnasium's differs from the others.

    Attributes:
        falls: It has a state in which it is not healthy.
        pays_the_fallen: The healthy reward is paid for the step in which it falls, too.
    """

    falls: bool
    pays_the_fallen: bool = False


# By Gymnasium's entry points.
ROBOTS = {
    f"gymnasium.envs.mujoco.{module}_{version}:{name}Env": Robot(falls, falls and version == "v4")
    for module, name, falls in (
        ("hopper", "Hopper", True),
        ("walker2d", "Walker2d", True),
        ("half_cheetah", "HalfCheetah", False),
    )
    for version in ("v4", "v5")
}


@dataclass(frozen=True)
class Rules:
    """Those of an environment; numbers are named as the arguments of Gymnasium's classes.

    `positions` are MuJoCo's of joints: along the track in m, height in m, pitch in rad, then the
    joints of the legs; `velocities` are theirs.

    Attributes:
        forward_reward_weight: Reward for 1 m/s.
        ctrl_cost_weight: Cost of a sum of squared actions of 1.
        exclude_current_positions_from_observation: Where along the track it is, is not shown.
        healthy_reward: Reward for each step.
        terminate_when_unhealthy: Episodes end by a fall.
        healthy_state_range: Of all other positions and velocities where it has not fallen.
        healthy_z_range: Of the height there.
        healthy_angle_range: Of the pitch there.
        pays_the_fallen: See `Robot`.
        velocity_bound: Velocities are shown clipped to it.
    """

    forward_reward_weight: float
    ctrl_cost_weight: float
    exclude_current_positions_from_observation: bool
    healthy_reward: float = 0.0
    terminate_when_unhealthy: bool = False
    healthy_state_range: tuple[float, float] = _EVERYTHING
    healthy_z_range: tuple[float, float] = _EVERYTHING
    healthy_angle_range: tuple[float, float] = _EVERYTHING
    pays_the_fallen: bool = False
    velocity_bound: float = math.inf

    @classmethod
    def of(cls, spec: EnvSpec, kwargs: Mapping[str, Any]) -> Rules:
        """Those of an environment that is made with these arguments.

        Raises:
            KeyError: It is none of `ROBOTS`.
        """
        assert isinstance(spec.entry_point, str)
        robot = ROBOTS[spec.entry_point]
        arguments = inspect.signature(load_env_creator(spec.entry_point)).bind(**kwargs)
        arguments.apply_defaults()
        known = {field.name for field in fields(cls)} & set(arguments.arguments)
        return cls(
            **{name: arguments.arguments[name] for name in known},
            pays_the_fallen=robot.pays_the_fallen,
            velocity_bound=10.0 if robot.falls else math.inf,
        )

    def observations(
        self, positions: Float[np.ndarray, "*N nq"], velocities: Float[np.ndarray, "*N nv"]
    ) -> Float[np.ndarray, "*N Do"]:
        """What is shown in these states."""
        shown = positions[..., 1:] if self.exclude_current_positions_from_observation else positions
        clipped = np.clip(velocities, -self.velocity_bound, self.velocity_bound)
        return np.concatenate([shown, clipped], axis=-1)

    def healthy(
        self, positions: Float[np.ndarray, "*N nq"], velocities: Float[np.ndarray, "*N nv"]
    ) -> Bool[np.ndarray, "*N"]:
        """Where it has not fallen."""
        others = np.concatenate([positions[..., 2:], velocities], axis=-1)
        return (
            _within(others, self.healthy_state_range).all(axis=-1)
            & _within(positions[..., 1], self.healthy_z_range)
            & _within(positions[..., 2], self.healthy_angle_range)
        )

    def rewards(
        self,
        speeds: Float[np.ndarray, "*N"],
        actions: Float[np.ndarray, "*N Da"],
        healthy: Bool[np.ndarray, "*N"],
    ) -> Float[np.ndarray, "*N"]:
        """Of steps.

        Args:
            speeds: Along the track, in m/s, in the mean over each step.
            actions: That were executed, as they came.
            healthy: How the steps ended.
        """
        paid = healthy
        if self.pays_the_fallen and self.terminate_when_unhealthy:
            paid = np.ones_like(healthy)
        rewards = self.forward_reward_weight * speeds + paid * self.healthy_reward
        squares = np.sum(np.square(actions), axis=-1)
        # NumPy 1 has other types for a weight times one number than for a weight times many.
        one = self.ctrl_cost_weight * squares.dtype.type(1)
        return rewards - self.ctrl_cost_weight * squares.astype(np.asarray(one).dtype)


def _within(values: Float[np.ndarray, "*N"], bounds: tuple[float, float]) -> Bool[np.ndarray, "*N"]:
    return (bounds[0] < values) & (values < bounds[1])
