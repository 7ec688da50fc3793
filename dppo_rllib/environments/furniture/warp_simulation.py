"""Many copies of a scene in MuJoCo Warp, all at once, on a GPU."""

from __future__ import annotations

from typing import Any

import mujoco_warp as mjw
import numpy as np
import torch
import warp as wp
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dppo_rllib.environments.furniture.scene import REST, SURFACE, Scene, specification
from dppo_rllib.environments.furniture.stability import sound
from dppo_rllib.environments.furniture.starts import (
    FREE_STEPS,
    PUSH_STEPS,
    SETTLING_STEPS,
    Start,
)
from dppo_rllib.environments.physics import mujoco

# Room in each world for pairs of geometries near each other and for contacts, for the costly search
# among convex shapes, and for rows of constraints. While screws were turned there were about 90
# pairs, up to 110 contacts and 333 rows. But for the rows, worlds share it.
_CONTACTS, _CONVEX_PAIRS, _CONSTRAINTS = 160, 128, 768
# Besides, one world may have all its parts inside one another (up to 355 contacts): MuJoCo Warp
# reads beyond the end of a list that has no room for all pairs.
_SPARE_CONTACTS = 400
# MuJoCo's own bound on coordinates, velocities and accelerations.
_MAX_VALUE = 1e10


class WarpSimulation:
    """`N` worlds that are stepped together, in single precision. A `Simulator`.

    Tensors share memory with the simulator's arrays. Every world takes part in every step; those
    that are to stand still are put back after it. So is, to where the scene begins, one whose
    numbers grow beyond all bounds: it does no more harm, and stays unstable until it is started
    anew. So does a world with more rows of constraints than there is room for, and all that run
    where they have more contacts together than there is: which of them lack some is not known.

    The first on a machine is compiled for some minutes; what comes of it is kept on disk.

    Args:
        scene: What is simulated.
        num_envs: `N`.

    Attributes:
        positions: `qpos` of all.
        velocities: `qvel` of all.
        obstacles: Where the obstacles are.
    """

    dtype = torch.float32

    def __init__(self, scene: Scene, num_envs: int):
        self.scene = scene
        self.device = torch.device(
            f"cuda:{torch.cuda.current_device()}" if torch.cuda.is_available() else "cpu"
        )
        wp.init()
        with wp.ScopedDevice(wp.device_from_torch(self.device)):
            model = _scene_for_warp(scene)
            self._model = mjw.put_model(model)
            self._data = mjw.make_data(
                model,
                num_envs,
                nconmax=_CONTACTS,
                naconmax=_CONTACTS * num_envs + _SPARE_CONTACTS,
                nccdmax=_CONVEX_PAIRS,
                njmax=_CONSTRAINTS,
            )
            mjw.step(self._model, self._data)  # compiles: not possible while it is recorded
            with wp.ScopedCapture() as recording:
                mjw.step(self._model, self._data)
            wp.synchronize_device()
        self._recording = recording.graph
        data = self._data
        self.positions: Float[Tensor, "N nq"] = wp.to_torch(data.qpos)
        self.velocities: Float[Tensor, "N nv"] = wp.to_torch(data.qvel)
        self._accelerations = wp.to_torch(data.qacc)
        self._controls = wp.to_torch(data.ctrl)
        self._wrenches = wp.to_torch(data.xfrc_applied)
        self._equalities = wp.to_torch(data.eq_active)
        self._mocap_positions = wp.to_torch(data.mocap_pos)
        self._mocap_quats = wp.to_torch(data.mocap_quat)
        self._overflows = wp.to_torch(data.overflow)
        self.obstacles: Float[Tensor, "N 3"] = self._mocap_positions[:, 0]
        # What a world goes on from, where it begins, and where it is put back to.
        self._state = [self.positions, self.velocities, wp.to_torch(data.qacc_warmstart)]
        self._beginning = [torch.zeros_like(tensor) for tensor in self._state]
        self._beginning[0][:] = self._tensor(scene.model.qpos0)
        self._beginning[0][:, :7] = self._tensor(REST)
        self._kept = [tensor.clone() for tensor in self._beginning]
        self._failed = torch.ones(num_envs, dtype=torch.bool, device=self.device)
        self._picture: Any = None

    def start(self, rows: Int[np.ndarray, " n"], starts: list[Start]) -> Bool[np.ndarray, " N"]:
        """Begins episodes in some copies."""
        if not starts:
            return np.zeros(len(self._failed), bool)
        at, scene = torch.as_tensor(rows, device=self.device), self.scene
        for tensor, beginning in zip(self._state, self._beginning, strict=True):
            tensor[at] = beginning[at]
        self._accelerations[at] = 0
        joints = self._tensor(np.array([start.joints for start in starts]))
        self.positions[at, :7] = self._controls[at, :7] = joints
        self.positions[at, 7:9] = self._controls[at, 7:9] = scene.assembly.gripper_width / 2
        self.obstacles[at] = self._tensor(np.array([start.obstacle for start in starts]))
        self._failed[at], self._overflows[at] = False, 0
        bodies = torch.tensor(scene.part_bodies, device=self.device)
        wrenches = self._tensor(np.array([start.wrenches for start in starts]))
        self._wrenches[at[:, None], bodies] = wrenches
        if scene.hold is not None:
            self._equalities[at, scene.hold] = False
        running = self._mask(at)
        self._advance(running, PUSH_STEPS)
        self._wrenches.zero_()
        self._advance(running, FREE_STEPS)
        if scene.hold is not None and scene.held is not None:
            self._advance(running, SETTLING_STEPS)
            held = self.positions[at, scene.held : scene.held + 7]
            self._mocap_positions[at, 1], self._mocap_quats[at, 1] = held[:, :3], held[:, 3:]
            self._equalities[at, scene.hold] = True
        return self._unstable(running)

    def release(self, rows: Int[np.ndarray, " n"]) -> None:
        """Lets go of the parts that are held in some copies."""
        if self.scene.hold is not None:
            self._equalities[torch.as_tensor(rows, device=self.device), self.scene.hold] = False

    def step(
        self, rows: Int[np.ndarray, " n"], controls: Float[Tensor, "N 9"], steps: int
    ) -> Bool[np.ndarray, " N"]:
        """Physics steps of some copies under constant servo targets."""
        running = self._mask(torch.as_tensor(rows, device=self.device))
        self._controls.copy_(controls)
        self._advance(running, steps)
        return self._unstable(running)

    def _unstable(self, running: Bool[Tensor, " N"]) -> Bool[np.ndarray, " N"]:
        steady = sound(self.positions, self.velocities, self._deepest()) & (self._overflows == 0)
        self._failed |= running & ~steady
        self._overflows.zero_()  # of those that stand still, too: it was the others' doing
        return (running & self._failed).cpu().numpy()

    def data(self, row: int) -> mujoco.MjData:
        """A copy as MuJoCo has it; the next call overwrites it."""
        if self._picture is None:
            self._picture = mujoco.MjData(self.scene.model)
        data = self._picture
        data.qpos[:], data.qvel[:] = self.positions[row].cpu(), self.velocities[row].cpu()
        data.mocap_pos[:] = self._mocap_positions[row].cpu()
        data.mocap_quat[:] = self._mocap_quats[row].cpu()
        mujoco.mj_kinematics(self.scene.model, data)
        mujoco.mj_camlight(self.scene.model, data)
        return data

    def close(self) -> None:
        """There is nothing to free by hand."""

    def _advance(self, running: Bool[Tensor, " N"], steps: int) -> None:
        """Steps of all worlds, of which those stay that are not running or have failed."""
        for kept, beginning, now in zip(self._kept, self._beginning, self._state, strict=True):
            torch.where(running[:, None], beginning, now, out=kept)
        self._put_back(running)
        for _ in range(steps):
            self._play()
            self._put_back(running)

    def _put_back(self, running: Bool[Tensor, " N"]) -> None:
        numbers = torch.cat([self.positions, self.velocities, self._accelerations], dim=1)
        self._failed |= running & ~(numbers.abs() < _MAX_VALUE).all(dim=1)
        goes_on = (running & ~self._failed)[:, None]
        for kept, now in zip(self._kept, self._state, strict=True):
            torch.where(goes_on, now, kept, out=now)

    def _deepest(self) -> Float[Tensor, " N"]:
        """Of each world the least distance of a contact, 0 if there is none."""
        contact = self._data.contact
        distances, worlds = wp.to_torch(contact.dist), wp.to_torch(contact.worldid)
        count = wp.to_torch(self._data.nacon)
        found = torch.arange(len(distances), device=self.device) < count
        distances, worlds = distances.where(found, 0), worlds.where(found, 0)
        return distances.new_zeros(len(self.positions)).scatter_reduce(
            0, worlds.long(), distances, "amin"
        )

    def _mask(self, at: Int[Tensor, " n"]) -> Bool[Tensor, " N"]:
        mask = torch.zeros_like(self._failed)
        mask[at] = True
        return mask

    def _tensor(self, values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=self.dtype, device=self.device)

    def _play(self) -> None:
        """A step of all worlds, recorded once; on a GPU in order with what PyTorch does."""
        on_gpu = self.device.type == "cuda"
        stream = wp.stream_from_torch(torch.cuda.current_stream(self.device)) if on_gpu else None
        wp.capture_launch(self._recording, stream=stream)


def _scene_for_warp(scene: Scene) -> Any:
    """The scene as MuJoCo Warp takes it.

    Its cylinders touch boxes in one point, where MuJoCo finds several: what stands on the table
    would rattle for ever. On a plane it does not.
    """
    spec = specification(scene.assembly)
    table = spec.geom("table")
    table.type, table.pos[2] = mujoco.mjtGeom.mjGEOM_PLANE, SURFACE
    return spec.compile()
