"""The tasks of Robomimic on robosuite's scenes.

Importing this registers `dppo_rllib/Lift-v0`, `Can`, `Square` and `Transport` with Gymnasium, and
each as `dppo_rllib/LiftPixels-v0` … with pictures. robosuite is needed only to make one.
"""

from typing import Any

import gymnasium

from dppo_rllib.requirements import Requirement

REQUIRES = (
    Requirement(extra="robomimic", module="numba"),
    Requirement(package="robosuite==1.5.2", options="--no-deps", module="robosuite"),
)
# Steps of an episode, as in Robomimic.
HORIZONS = {"lift": 300, "can": 300, "square": 400, "transport": 800}


def make_one(**kwargs: Any) -> gymnasium.Env:
    """One environment; see `RobomimicVectorEnv`."""
    from dppo_rllib.environments.robomimic.vector_env import RobomimicEnv

    return RobomimicEnv(**kwargs)


def make_many(**kwargs: Any) -> gymnasium.vector.VectorEnv:
    """Many at once: a `RobomimicVectorEnv`."""
    from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv

    return RobomimicVectorEnv(**kwargs)


def _register() -> None:
    for task, horizon in HORIZONS.items():
        for suffix, pixels in (("", False), ("Pixels", True)):
            gymnasium.register(
                f"dppo_rllib/{task.capitalize()}{suffix}-v0",
                entry_point=f"{__name__}:make_one",
                vector_entry_point=f"{__name__}:make_many",
                max_episode_steps=horizon,
                kwargs={"task": task, "pixels": pixels},
            )


_register()
