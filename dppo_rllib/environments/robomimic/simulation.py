"""Many copies of a scene, stepped together by compiled code."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dppo_rllib.environments.physics import mujoco
from dppo_rllib.environments.robomimic.osc import control_steps
from dppo_rllib.environments.robomimic.scene import Scene

_FIELDS = (
    *("qpos", "qvel", "ctrl", "qfrc_bias", "qM", "xanchor", "xaxis", "site_xpos", "site_xmat"),
)
Rows = Int[np.ndarray, " n"]


class Simulation:
    """`N` copies of a scene that share its model.

    Positions and orientations are of the last physics step's beginning, as robosuite's; joints of
    its end.

    Args:
        scene: What is simulated.
        num_envs: `N`.
        num_threads: Among how many the copies are divided.

    Attributes:
        datas: MuJoCo's, of each copy.
    """

    def __init__(self, scene: Scene, num_envs: int, num_threads: int = 1):
        self.scene, model = scene, scene.model
        # A copy that diverges is to stay so: MuJoCo would restart it silently.
        model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        self.datas = [mujoco.MjData(model) for _ in range(num_envs)]
        self._addresses = np.array([_addresses(model, data) for data in self.datas])
        self._sizes = np.array([model.nq, model.nv, model.nu, model.nM, model.njnt, model.nsite])
        arms = scene.arms
        self._rest = np.zeros((num_envs, *arms.limits.shape[:2]))
        self._grippers = np.zeros((num_envs, *arms.grippers.shape))
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None
        self._num_threads = num_threads

    def start(self, row: int, generator: np.random.Generator) -> None:
        """Begins an episode in a copy."""
        mujoco.mj_copyData(self.datas[row], self.scene.model, self.scene.start(generator))
        self._hold(row)

    def restore(self, row: int, state: Float[np.ndarray, " size"]) -> None:
        """Puts a copy into a recorded state: time, positions and velocities, as robomimic's."""
        data, nq = self.datas[row], self.scene.model.nq
        mujoco.mj_resetData(self.scene.model, data)
        data.time, data.qpos, data.qvel = state[0], state[1 : 1 + nq], state[1 + nq :]
        mujoco.mj_forward(self.scene.model, data)
        self._hold(row)

    def recorded(self, row: int) -> Float[np.ndarray, " size"]:
        """The state of a copy as `restore` takes it."""
        data = self.datas[row]
        return np.concatenate([[data.time], data.qpos, data.qvel])

    def _hold(self, row: int) -> None:
        self._grippers[row] = 0
        self._rest[row] = self.datas[row].qpos[self.scene.arms.joints[:, 1]]

    def step(self, rows: Rows, actions: Float[np.ndarray, "N Da"]) -> Bool[np.ndarray, " N"]:
        """One control step of some copies.

        Args:
            rows: Which.
            actions: Of all copies, in [-1, 1].

        Returns:
            Which of all copies have diverged in it.
        """
        arms, diverged = self.scene.arms, np.zeros(len(self.datas), bool)
        work = functools.partial(
            control_steps,
            actions=np.ascontiguousarray(actions, np.float64),
            functions=_step_functions(),
            addresses=self._addresses,
            sizes=self._sizes,
            joints=arms.joints,
            mass_entries=arms.mass_entries,
            limits=arms.limits,
            hands=arms.hands,
            grippers=arms.grippers,
            gripper_limits=arms.gripper_limits,
            rest=self._rest,
            gripper_state=self._grippers,
            physics_steps=self.scene.physics_steps,
            diverged=diverged,
        )
        if self._pool is None:
            work(rows)
        else:
            parts = [rows[start :: self._num_threads] for start in range(self._num_threads)]
            list(self._pool.map(work, parts))
        return diverged

    def gather(
        self, read: Callable[[Any], np.ndarray], index: Any, rows: Rows
    ) -> Float[np.ndarray, "n *shape"]:
        """Entries of an array of MuJoCo's data, of some copies."""
        return np.array([read(self.datas[row])[index] for row in rows])

    def touching(
        self, geoms: Sequence[int], others: Sequence[int], rows: Rows
    ) -> Bool[np.ndarray, " n"]:
        """Whether any of the geometries touches any of the others."""
        result = np.zeros(len(rows), bool)
        for i, row in enumerate(rows):
            pairs = self.datas[row].contact.geom
            first, second = np.isin(pairs, geoms), np.isin(pairs, others)
            result[i] = (first & second[:, ::-1]).any()
        return result

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _addresses(model: Any, data: Any) -> list[int]:
    arrays = [getattr(data, field).ctypes.data for field in _FIELDS]
    return [model._address, data._address, *arrays]


@functools.cache
def _step_functions() -> Int[np.ndarray, " 2"]:
    """Addresses of `mj_step1` and `mj_step2` in the library that the package `mujoco` has loaded.

    Raises:
        RuntimeError: It is not where that package keeps it.
    """
    found = sorted(Path(mujoco.__file__).parent.glob("libmujoco*"))
    if not found:
        raise RuntimeError(f"mujoco {mujoco.__version__}: no libmujoco beside {mujoco.__file__}")
    library = ctypes.CDLL(str(found[0]))
    functions = (library.mj_step1, library.mj_step2)
    return np.array([ctypes.cast(f, ctypes.c_void_p).value for f in functions], np.int64)
