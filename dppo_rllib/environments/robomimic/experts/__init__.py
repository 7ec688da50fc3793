"""Scripted experts: controllers that solve tasks by what they know of the simulation.

The arms of an expert go from waypoint to waypoint, with a proportional controller in between; at
some they wait for one another. It sees poses as they are, not observations: what it shows can be
recorded in pictures too. It is as imperfect as it is told to be: where it grasps and where it lays
down is drawn anew for each episode, and what has slipped out of the hand is not picked up again.
"""

from __future__ import annotations

from dppo_rllib.environments.robomimic.experts.can import CanExpert
from dppo_rllib.environments.robomimic.experts.expert import Expert
from dppo_rllib.environments.robomimic.experts.lift import LiftExpert
from dppo_rllib.environments.robomimic.experts.square import SquareExpert
from dppo_rllib.environments.robomimic.experts.transport import TransportExpert
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv

EXPERTS: dict[str, type[Expert]] = {
    "lift": LiftExpert,
    "can": CanExpert,
    "square": SquareExpert,
    "transport": TransportExpert,
}


def make_expert(env: RobomimicVectorEnv, imperfection: float = 1.0) -> Expert:
    """The expert of an environment's task; see `Expert`.

    Raises:
        ValueError: It has none, or the imperfection is negative or not finite.
    """
    if env.task.name not in EXPERTS:
        raise ValueError(f"task={env.task.name!r}: expected one of {sorted(EXPERTS)}")
    return EXPERTS[env.task.name](env, imperfection)
