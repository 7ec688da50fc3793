"""D3IL's Avoiding task: push a rod around pillars and across a line.

Importing this registers `dppo_rllib/Avoid-v0` with Gymnasium.
"""

from typing import Any

import gymnasium

ENV_ID = "dppo_rllib/Avoid-v0"
MAX_EPISODE_STEPS = 100


def make_one(**kwargs: Any) -> gymnasium.Env:
    """One environment; see `AvoidVectorEnv`."""
    from dppo_rllib.environments.avoid.vector_env import AvoidEnv

    return AvoidEnv(**kwargs)


def make_many(**kwargs: Any) -> gymnasium.vector.VectorEnv:
    """Many at once: an `AvoidVectorEnv`."""
    from dppo_rllib.environments.avoid.vector_env import AvoidVectorEnv

    return AvoidVectorEnv(**kwargs)


# Without `max_episode_steps`: Gymnasium would truncate what terminates by time.
gymnasium.register(
    ENV_ID, entry_point=f"{__name__}:make_one", vector_entry_point=f"{__name__}:make_many"
)
