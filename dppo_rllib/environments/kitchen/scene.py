"""The kitchen of gymnasium-robotics, many copies of it."""

from __future__ import annotations

import functools
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Bool, Float, Int

from dppo_rllib.environments.kitchen.subtasks import NUM_ARM, NUM_POSITIONS
from dppo_rllib.environments.physics import mujoco

PHYSICS_STEPS = 40  # of 2 ms, between two commands
_ASSETS = Path("envs") / "assets" / "kitchen_franka"
# Where episodes of D4RL start; the arm's joints first.
_START = (
    *(1.48388023e-01, -1.76848573e00, 1.84390296e00, -2.47685760e00, 2.60252026e-01),
    *(7.12533105e-01, 1.59515394e00, 4.79267505e-02, 3.71350919e-02, -2.66279850e-04),
    *(-5.18043486e-05, 3.12877220e-05, -4.51199853e-05, -3.90842156e-06, -4.22629655e-05),
    *(6.28065475e-05, 4.04984708e-05, 4.62730939e-04, -2.26906415e-04, -4.65501369e-04),
    *(-6.44129196e-03, -1.77048263e-03, 1.08009684e-03, -2.69397440e-01, 3.50383255e-01),
    *(1.61944683e00, 1.00618764e00, 4.06395120e-03, -6.62095997e-03, -2.68278933e-04),
)
_DIVERGED = (
    mujoco.mjtWarning.mjWARN_BADQPOS,
    mujoco.mjtWarning.mjWARN_BADQVEL,
    mujoco.mjtWarning.mjWARN_BADQACC,
)

Rows = Int[np.ndarray, " n"]


class Kitchens:
    """`N` kitchens of one model, stepped by MuJoCo.

    Args:
        num: `N`.
        num_threads: Among which they are divided.

    Attributes:
        model: MuJoCo's.
        datas: Its state of each kitchen.
        seconds: Between two commands.

    Raises:
        ImportError: gymnasium-robotics is not installed.
    """

    def __init__(self, num: int, num_threads: int = 1):
        self.model = _model()
        self.datas = [mujoco.MjData(self.model) for _ in range(num)]
        self.seconds = PHYSICS_STEPS * float(self.model.opt.timestep)
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None

    def start(self, rows: Rows) -> None:
        """Begins anew in some kitchens."""
        for row in rows.tolist():
            data = self.datas[row]
            mujoco.mj_resetData(self.model, data)
            data.qpos[:] = _START
            mujoco.mj_forward(self.model, data)

    def step(self, rows: Rows, controls: Float[np.ndarray, "n 9"]) -> Bool[np.ndarray, " n"]:
        """Moves the arms of some kitchens towards joint positions for one command's time.

        Returns:
            Which have diverged in it.
        """
        work = functools.partial(_advance, self.model)
        datas = [self.datas[row] for row in rows.tolist()]
        steps = map if self._pool is None else self._pool.map
        return np.fromiter(steps(work, datas, controls), bool, len(datas))

    def positions(self, rows: Rows) -> Float[np.ndarray, "n 30"]:
        """Of all joints in some kitchens."""
        return np.array([self.datas[row].qpos for row in rows.tolist()]).reshape(-1, NUM_POSITIONS)

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def position_limits() -> Float[np.ndarray, "9 2"]:
    """Between which the arm's joints can be commanded."""
    bounds = [joint.attrib["pos_bound"].split() for joint in _specified()[:NUM_ARM]]
    return np.array(bounds, float)


def noise_amplitudes() -> Float[np.ndarray, "30"]:
    """By how much D4RL disturbs what is seen of a joint position at most, at a ratio of 1."""
    amplitudes = [joint.attrib["pos_noise_amp"] for joint in _specified()[:NUM_POSITIONS]]
    return np.array(amplitudes, float)


def _advance(model: Any, data: Any, control: Float[np.ndarray, "9"]) -> bool:
    data.ctrl[:] = control
    mujoco.mj_step(model, data, nstep=PHYSICS_STEPS)
    return any(data.warning[kind].number for kind in _DIVERGED)


@functools.cache
def _model() -> Any:
    scene = _assets() / "kitchen_assets" / "kitchen_env_model.xml"
    return mujoco.MjModel.from_xml_path(str(scene))


def _specified() -> list[ElementTree.Element]:
    """What D4RL says of each joint."""
    return list(ElementTree.parse(_assets() / "franka_assets" / "franka_config.xml").getroot())


def _assets() -> Path:
    # Importing the package would import all of its environments.
    found = importlib.util.find_spec("gymnasium_robotics")
    if found is None or found.origin is None:
        raise ImportError('gymnasium-robotics is not installed: pip install "dppo_rllib[kitchen]"')
    return Path(found.origin).parent / _ASSETS
