"""Many copies of a scene in MuJoCo, divided among threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dppo_rllib.environments.furniture.scene import Scene
from dppo_rllib.environments.furniture.stability import sound
from dppo_rllib.environments.furniture.starts import (
    FREE_STEPS,
    PUSH_STEPS,
    SETTLING_STEPS,
    Start,
)
from dppo_rllib.environments.physics import mujoco

_DIVERGENCE = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)


class Simulation:
    """`N` copies that share a model; MuJoCo's own code steps each. A `Simulator`.

    Args:
        scene: What is simulated.
        num_envs: `N`.
        num_threads: Among how many the copies are divided.

    Attributes:
        datas: MuJoCo's, of each copy.
        positions: `qpos` of all.
        velocities: `qvel` of all.
        obstacles: Where the obstacles are.
    """

    device = torch.device("cpu")
    dtype = torch.float64

    def __init__(self, scene: Scene, num_envs: int, num_threads: int = 1):
        self.scene, model = scene, scene.model
        self.datas = [mujoco.MjData(model) for _ in range(num_envs)]
        self._qpos, self._qvel = np.zeros((num_envs, model.nq)), np.zeros((num_envs, model.nv))
        self._obstacles, self._deepest = np.zeros((num_envs, 3)), np.zeros(num_envs)
        self.positions: Float[Tensor, "N nq"] = torch.from_numpy(self._qpos)
        self.velocities: Float[Tensor, "N nv"] = torch.from_numpy(self._qvel)
        self.obstacles: Float[Tensor, "N 3"] = torch.from_numpy(self._obstacles)
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None

    def start(self, rows: Int[np.ndarray, " n"], starts: list[Start]) -> Bool[np.ndarray, " N"]:
        """Begins episodes in some copies."""
        for row, start in zip(rows, starts, strict=True):
            self._start(int(row), start)
        return self._unstable(rows)

    def _start(self, row: int, start: Start) -> None:
        model, data, scene = self.scene.model, self.datas[row], self.scene
        mujoco.mj_resetData(model, data)
        data.qpos[:7], data.qpos[7:9] = start.joints, scene.assembly.gripper_width / 2
        data.ctrl[:7], data.ctrl[7:9] = start.joints, scene.assembly.gripper_width / 2
        data.mocap_pos[0] = start.obstacle
        data.xfrc_applied[list(scene.part_bodies)] = start.wrenches
        mujoco.mj_step(model, data, nstep=PUSH_STEPS)
        data.xfrc_applied[:] = 0
        mujoco.mj_step(model, data, nstep=FREE_STEPS)
        if scene.hold is not None and scene.held is not None:
            mujoco.mj_step(model, data, nstep=SETTLING_STEPS)
            held = data.qpos[scene.held : scene.held + 7]
            data.mocap_pos[1], data.mocap_quat[1] = held[:3], held[3:]
            data.eq_active[scene.hold] = 1
        self._obstacles[row] = start.obstacle
        self._read(row)

    def release(self, rows: Int[np.ndarray, " n"]) -> None:
        """Lets go of the parts that are held in some copies."""
        for row in rows:
            self.datas[row].eq_active[self.scene.hold] = 0

    def step(
        self, rows: Int[np.ndarray, " n"], controls: Float[Tensor, "N 9"], steps: int
    ) -> Bool[np.ndarray, " N"]:
        """Physics steps of some copies under constant servo targets."""
        targets = controls.numpy()

        def work(row: int) -> None:
            data = self.datas[row]
            data.ctrl[:] = targets[row]
            mujoco.mj_step(self.scene.model, data, nstep=steps)
            self._read(row)

        every = self._pool.map if self._pool else map
        list(every(work, rows.tolist()))
        return self._unstable(rows)

    def _unstable(self, rows: Int[np.ndarray, " n"]) -> Bool[np.ndarray, " N"]:
        steady = sound(self.positions, self.velocities, torch.from_numpy(self._deepest)).numpy()
        unstable = np.zeros(len(self.datas), bool)
        unstable[rows] = [not steady[row] or _diverged(self.datas[row]) for row in rows]
        return unstable

    def _read(self, row: int) -> None:
        data = self.datas[row]
        self._qpos[row], self._qvel[row] = data.qpos, data.qvel
        self._deepest[row] = data.contact.dist.min() if data.ncon else 0

    def data(self, row: int) -> mujoco.MjData:
        """MuJoCo's data of a copy."""
        return self.datas[row]

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _diverged(data: mujoco.MjData) -> bool:
    """Whether MuJoCo has restarted it, as it does where numbers grow beyond all bounds."""
    return any(data.warning[warning].number for warning in _DIVERGENCE)
