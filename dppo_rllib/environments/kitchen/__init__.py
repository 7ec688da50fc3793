"""Franka Kitchen: an arm opens, switches on and moves what it is asked to.

Importing this registers `dppo_rllib/Kitchen-v0` with Gymnasium. gymnasium-robotics, which brings
the scene, is needed only to make one.
"""

from typing import Any

import gymnasium

ENV_ID = "dppo_rllib/Kitchen-v0"
MAX_EPISODE_STEPS = 280


def make_one(**kwargs: Any) -> gymnasium.Env:
    """One environment; see `KitchenVectorEnv`."""
    from dppo_rllib.environments.kitchen.vector_env import KitchenEnv

    return KitchenEnv(**kwargs)


def make_many(**kwargs: Any) -> gymnasium.vector.VectorEnv:
    """Many at once: a `KitchenVectorEnv`."""
    from dppo_rllib.environments.kitchen.vector_env import KitchenVectorEnv

    return KitchenVectorEnv(**kwargs)


gymnasium.register(
    ENV_ID,
    entry_point=f"{__name__}:make_one",
    vector_entry_point=f"{__name__}:make_many",
    max_episode_steps=MAX_EPISODE_STEPS,
)
