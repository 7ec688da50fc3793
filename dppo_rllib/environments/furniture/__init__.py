"""Furniture-Bench: one-leg, lamp and round-table on MuJoCo.

Importing this registers `dppo_rllib/OneLegLow-v0`, `OneLegMed`, `LampLow`, … with Gymnasium. The
meshes of furniture-bench are needed only to make one.
"""

from typing import Any

import gymnasium

ASSEMBLY_NAMES = ("one_leg", "lamp", "round_table")
RANDOMNESS_NAMES = ("low", "med")
#: Normalised observations are clipped to ± this, as the authors do.
NORMALIZED_BOUND = 5.0


def env_id(assembly: str, randomness: str) -> str:
    """The id of a task's environment."""
    words = f"{assembly}_{randomness}".split("_")
    return f"dppo_rllib/{''.join(word.capitalize() for word in words)}-v0"


def make_one(**kwargs: Any) -> gymnasium.Env:
    """One environment; see `FurnitureVectorEnv`."""
    from dppo_rllib.environments.furniture.single_env import FurnitureEnv

    return FurnitureEnv(**kwargs)


def make_many(**kwargs: Any) -> gymnasium.vector.VectorEnv:
    """Many at once: a `FurnitureVectorEnv`."""
    from dppo_rllib.environments.furniture.vector_env import FurnitureVectorEnv

    return FurnitureVectorEnv(**kwargs)


def _register() -> None:
    # Without `max_episode_steps`: Gymnasium would truncate what terminates by time.
    for assembly in ASSEMBLY_NAMES:
        for randomness in RANDOMNESS_NAMES:
            gymnasium.register(
                env_id(assembly, randomness),
                entry_point=f"{__name__}:make_one",
                vector_entry_point=f"{__name__}:make_many",
                kwargs={"assembly": assembly, "randomness": randomness},
            )


_register()
