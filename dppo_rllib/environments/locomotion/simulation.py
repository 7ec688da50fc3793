"""Copies of a MuJoCo model that are stepped through chunks of actions."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import Float, Int

from dppo_rllib.environments.physics import Rollout, mujoco

_STATE = mujoco.mjtState.mjSTATE_FULLPHYSICS
# Older versions of MuJoCo have no islands unless they are asked for.
_NO_ISLANDS = getattr(mujoco.mjtDisableBit, "mjDSBL_ISLAND", 0)
Rows = Int[np.ndarray, " n"]


class Simulation:
    """`N` copies, each with MuJoCo's data of its own; a chunk of one is a call of `rollout`.

    Not one call for all: that would have as many data as threads, and begin each copy's chunk with
    another's forces, or none, as a first guess of the solver, whose last digits differ by it.

    Args:
        model: What is simulated.
        datas: Of the copies; they stay where a chunk leaves them.
        steps_per_action: Physics steps of an action.
        num_threads: Among how many the copies are divided.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        datas: Sequence[mujoco.MjData],
        steps_per_action: int,
        num_threads: int = 1,
    ):
        # One model for all stays in the cache.
        self._model = copy.copy(model)
        # A copy that diverges is to stay so: MuJoCo would restart it silently. And one robot is
        # one island of constraints: looking for it changes nothing but takes a tenth of the time.
        self._model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET | _NO_ISLANDS
        self._datas = list(datas)
        self._guesses = [data.qacc_warmstart[None] for data in datas]
        self._warnings = [data.warning.number for data in datas]
        self._steps_per_action = steps_per_action
        # Where chunks begin: known from the one before, and quicker to keep than to ask for.
        self._states = np.zeros((len(self._datas), mujoco.mj_stateSize(model, _STATE)))
        self._rollout = Rollout(nthread=0)
        self._pool = ThreadPoolExecutor(num_threads) if num_threads > 1 else None
        self._num_threads = num_threads

    def begin(self, rows: Rows) -> None:
        """Takes over the states that the data of some copies were put into."""
        for row in rows:
            mujoco.mj_getState(self._model, self._datas[row], self._states[row], _STATE)

    def step(
        self, rows: Rows, chunks: Float[np.ndarray, "N Ta Da"]
    ) -> tuple[Float[np.ndarray, "N Ta nq"], Float[np.ndarray, "N Ta nv"]]:
        """Executes chunks.

        Args:
            rows: Copies that do; nothing is said of the others.
            chunks: Actions, as MuJoCo's controls.

        Returns:
            Positions and velocities after each action; NaN from where MuJoCo warned (of numbers
            that are not finite or huge, or of too little memory) and went no further.
        """
        every, model = self._steps_per_action, self._model
        controls = np.repeat(chunks.astype(np.float64), every, axis=1)
        states = np.zeros((*controls.shape[:2], self._states.shape[1]))
        if self._pool is None:
            self._roll(rows, controls, states)
        else:
            parts = [rows[start :: self._num_threads] for start in range(self._num_threads)]
            list(self._pool.map(lambda part: self._roll(part, controls, states), parts))
        self._states[rows] = states[rows, -1]
        last = states[:, every - 1 :: every]
        for row in rows[np.array(self._warnings)[rows].any(axis=1)]:
            last[row, _warned_at(states[row, :, 0]) // every :] = np.nan
        joints = 1 + model.nq
        return last[..., 1:joints], last[..., joints : joints + model.nv]

    def _roll(
        self,
        rows: Rows,
        controls: Float[np.ndarray, "N steps Da"],
        states: Float[np.ndarray, "N steps size"],
    ) -> None:
        model, steps = [self._model], controls.shape[1]
        for row in rows:
            self._rollout.rollout(
                model,
                [self._datas[row]],
                self._states[row : row + 1],
                controls[row : row + 1],
                skip_checks=True,
                nstep=steps,
                initial_warmstart=self._guesses[row],
                state=states[row : row + 1],
            )

    def close(self) -> None:
        """Ends the threads."""
        if self._pool is not None:
            self._pool.shutdown()


def _warned_at(times: Float[np.ndarray, " steps"]) -> int:
    """The physics step in which a rollout stopped: from then on it repeats the state."""
    repeated = np.flatnonzero(times[1:] == times[:-1])
    return int(repeated[0]) if len(repeated) else len(times) - 1
