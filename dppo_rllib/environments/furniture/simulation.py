"""Many copies of a scene in MuJoCo, divided among threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import mujoco
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dppo_rllib.environments.furniture.scene import Scene
from dppo_rllib.environments.furniture.starts import Start

# Faster than this (m/s, rad/s) parts are flung by a fault of contact, not by hands or pushes.
_MAX_SPEED, _MAX_SPIN = 20.0, 500.0
_MAX_PENETRATION = 0.01
# Of the original's step of 1/60 s forces act in the first of two parts: in both, parts would leave
# the table at low randomness (the hood would slide a metre).
_PUSH_STEPS, _FREE_STEPS = 4, 4
_SETTLING_STEPS = 80


class Simulation:
    """`N` copies that share a model; MuJoCo's own code steps each.

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

    device = "cpu"
    dtype = torch.float64

    def __init__(self, scene: Scene, num_envs: int, num_threads: int = 1):
        self.scene, model = scene, scene.model
        self.datas = [mujoco.MjData(model) for _ in range(num_envs)]
        self._qpos, self._qvel = np.zeros((num_envs, model.nq)), np.zeros((num_envs, model.nv))
        self._obstacles = np.zeros((num_envs, 3))
        self.positions: Float[Tensor, "N nq"] = torch.from_numpy(self._qpos)
        self.velocities: Float[Tensor, "N nv"] = torch.from_numpy(self._qvel)
        self.obstacles: Float[Tensor, "N 3"] = torch.from_numpy(self._obstacles)
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None

    def start(self, rows: Int[np.ndarray, " n"], starts: list[Start]) -> None:
        """Begins episodes in some copies.

        Parts are pushed for 1/120 s. A part that is to be held first settles, and stays there.
        """
        for row, start in zip(rows, starts, strict=True):
            self._start(int(row), start)

    def _start(self, row: int, start: Start) -> None:
        model, data, scene = self.scene.model, self.datas[row], self.scene
        mujoco.mj_resetData(model, data)
        data.qpos[:7], data.qpos[7:9] = start.joints, scene.assembly.gripper_width / 2
        data.ctrl[:7], data.ctrl[7:9] = start.joints, scene.assembly.gripper_width / 2
        data.mocap_pos[0] = start.obstacle
        data.xfrc_applied[list(scene.part_bodies)] = start.wrenches
        mujoco.mj_step(model, data, nstep=_PUSH_STEPS)
        data.xfrc_applied[:] = 0
        mujoco.mj_step(model, data, nstep=_FREE_STEPS)
        if scene.hold is not None and scene.held is not None:
            mujoco.mj_step(model, data, nstep=_SETTLING_STEPS)
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
        """Physics steps of some copies under constant servo targets.

        Args:
            rows: Which.
            controls: Of all copies.
            steps: How many, of `scene.TIMESTEP`.

        Returns:
            Which of all copies have become unstable.
        """
        targets = controls.numpy()
        unstable = np.zeros(len(self.datas), bool)

        def work(row: int) -> None:
            data = self.datas[row]
            data.ctrl[:] = targets[row]
            mujoco.mj_step(self.scene.model, data, nstep=steps)
            unstable[row] = not self._sound(data)
            self._read(row)

        every = self._pool.map if self._pool else map
        list(every(work, rows.tolist()))
        return unstable

    def _sound(self, data: mujoco.MjData) -> bool:
        if (
            data.warning[mujoco.mjtWarning.mjWARN_BADQACC].number
            or not np.isfinite(data.qpos).all()
        ):
            return False
        speeds = np.abs(data.qvel[9:].reshape(-1, 2, 3)).max(axis=(0, 2))
        if (speeds > (_MAX_SPEED, _MAX_SPIN)).any():
            return False
        return not data.ncon or bool(data.contact.dist.min() > -_MAX_PENETRATION)

    def _read(self, row: int) -> None:
        self._qpos[row], self._qvel[row] = self.datas[row].qpos, self.datas[row].qvel

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()
