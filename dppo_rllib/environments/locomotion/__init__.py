"""Gymnasium's Hopper, Walker2d and HalfCheetah, v4 and v5, stepped a chunk at a time.

Gymnasium makes them, starts their episodes and draws them; MuJoCo's `rollout` steps a whole chunk
without Python in between, and rewards and ends of episodes are computed from its states. MuJoCo is
needed only to make them.
"""

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import VectorEnv

from dppo_rllib.environments.locomotion.rules import ROBOTS


def vector_entry_point(spec: EnvSpec) -> Callable[..., VectorEnv] | None:
    """What makes many copies of an environment, as Gymnasium's field of that name; None of others.

    Args:
        spec: Gymnasium's, of any environment.
    """
    if spec.entry_point not in ROBOTS or importlib.util.find_spec("mujoco") is None:
        return None
    return functools.partial(_make_many, spec)


def _make_many(spec: EnvSpec, **kwargs: Any) -> VectorEnv:
    import dppo_rllib.environments.physics  # noqa: F401  before Gymnasium, which does not say why
    from dppo_rllib.environments.locomotion.vector_env import LocomotionVectorEnv

    return LocomotionVectorEnv(spec, **kwargs)
