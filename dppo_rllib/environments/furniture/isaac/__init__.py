"""The tasks of Furniture-Bench in NVIDIA's IsaacGym, for those who have it.

IsaacGym runs in a Python 3.8 of its own (`sidecar`), to which this package is linked by shared
memory. Importing this registers `dppo_rllib/OneLegLowIsaac-v0`, `OneLegMedIsaac`, `LampLowIsaac`,
`LampMedIsaac`, `RoundTableLowIsaac` and `RoundTableMedIsaac` with Gymnasium, as environments that
there are only many of at once. IsaacGym is needed only to make one.
"""

from typing import Any

import gymnasium

# Steps of an episode, as the authors have them.
HORIZONS = {"one_leg": 700, "lamp": 1000, "round_table": 1000}


def make_many(**kwargs: Any) -> gymnasium.vector.VectorEnv:
    """An `IsaacVectorEnv`."""
    from dppo_rllib.environments.furniture.isaac.vector_env import IsaacVectorEnv

    return IsaacVectorEnv(**kwargs)


def env_id(task: str, randomness: str) -> str:
    """The id that a task is registered with."""
    words = [*task.split("_"), randomness, "isaac"]
    return f"dppo_rllib/{''.join(word.capitalize() for word in words)}-v0"


def _register() -> None:
    for task, horizon in HORIZONS.items():
        for randomness in ("low", "med"):
            gymnasium.register(
                env_id(task, randomness),
                vector_entry_point=f"{__name__}:make_many",
                max_episode_steps=horizon,
                kwargs={"task": task, "randomness": randomness},
            )


_register()
