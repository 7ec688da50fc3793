"""What a simulator of many copies of a scene offers, and which ones there are."""

from __future__ import annotations

import importlib.util
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dppo_rllib.environments.furniture.scene import Scene
from dppo_rllib.environments.furniture.simulation import Simulation
from dppo_rllib.environments.furniture.starts import Start

MUJOCO, MUJOCO_WARP = "mujoco", "mujoco_warp"
SIMULATORS = (MUJOCO, MUJOCO_WARP)
_INSTALL = 'pip install "dppo_rllib[furniture-warp]"'


@runtime_checkable
class Simulator(Protocol):
    """`N` copies of a scene.

    Attributes:
        scene: What is simulated.
        device: Where the tensors are.
        dtype: Of the tensors.
        positions: `qpos` of all.
        velocities: `qvel` of all.
        obstacles: Where the obstacles are.
    """

    scene: Scene
    device: torch.device
    dtype: torch.dtype
    positions: Float[Tensor, "N nq"]
    velocities: Float[Tensor, "N nv"]
    obstacles: Float[Tensor, "N 3"]

    def start(self, rows: Int[np.ndarray, " n"], starts: list[Start]) -> Bool[np.ndarray, " N"]:
        """Begins episodes in some copies.

        Parts are pushed for 1/120 s. A part that is to be held first settles, and stays there.

        Returns:
            Which of these copies are unstable from the beginning.
        """

    def release(self, rows: Int[np.ndarray, " n"]) -> None:
        """Lets go of the parts that are held in some copies."""

    def step(
        self, rows: Int[np.ndarray, " n"], controls: Float[Tensor, "N 9"], steps: int
    ) -> Bool[np.ndarray, " N"]:
        """Physics steps of some copies under constant servo targets; the others stand still.

        Args:
            rows: Which.
            controls: Of all copies.
            steps: How many, of `scene.TIMESTEP`.

        Returns:
            Which of these copies have become unstable.
        """

    def data(self, row: int) -> Any:
        """A copy as MuJoCo's `MjData`, to be read and drawn."""

    def close(self) -> None:
        """Frees what it holds."""


def make_simulator(name: str, scene: Scene, num_envs: int, num_threads: int = 1) -> Simulator:
    """The copies of a scene.

    Args:
        name: "mujoco", or "mujoco_warp" for all copies at once on a GPU (without one: on a CPU).
        scene: What is simulated.
        num_envs: `N`.
        num_threads: Among how many "mujoco" divides them.

    Raises:
        ImportError: mujoco_warp is not installed.
        ValueError: There is no such simulator, or it knows no threads.
    """
    if name not in SIMULATORS:
        raise ValueError(f"simulator={name!r}: expected one of {list(SIMULATORS)}")
    if name == MUJOCO:
        return Simulation(scene, num_envs, num_threads)
    if num_threads != 1:
        raise ValueError(
            f"num_threads={num_threads}: expected 1 with simulator={name!r}, which steps all "
            "copies at once"
        )
    if importlib.util.find_spec("mujoco_warp") is None:
        raise ImportError(f"simulator={name!r}: mujoco_warp is not installed; {_INSTALL}")
    from dppo_rllib.environments.furniture.warp_simulation import WarpSimulation

    return WarpSimulation(scene, num_envs)
