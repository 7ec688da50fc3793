"""The simulator as the environments see it: one that is there again after it has failed."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from dppo_rllib.environments.furniture.isaac.interpreter import find_python
from dppo_rllib.environments.furniture.isaac.process import (
    Order,
    SidecarError,
    SidecarProcess,
    Timeouts,
)

logger = logging.getLogger(__name__)

# In a row, without a step between them.
_MAX_FAILURES = 3

Arrays = dict[str, np.ndarray]


class IsaacClient:
    """A simulator of `N` copies of a task; where its process fails, another takes its place.

    Args:
        order: What to simulate.
        python: Path or name of the Python that has IsaacGym; None takes `DPPO_ISAACGYM_PYTHON`.
        timeouts: When it is taken to hang.

    Attributes:
        failures: How often the simulator has failed.

    Raises:
        ImportError: There is no such Python, or what it needs is not installed.
        SidecarError: The simulator does not start.
    """

    def __init__(
        self,
        order: Order,
        python: str | os.PathLike[str] | None = None,
        timeouts: Timeouts | None = None,
    ):
        self._python = find_python(python)
        self._order, self._timeouts = order, timeouts or Timeouts()
        self._seeds = np.random.default_rng()
        self.failures = self._in_a_row = 0
        self._begun = False
        self._process: SidecarProcess | None = self._start()

    @property
    def pid(self) -> int | None:
        """The number of its process; None while there is none."""
        return None if self._process is None else self._process.pid

    def reset(
        self, mask: Bool[np.ndarray, " N"], seeds: Sequence[int] | None
    ) -> tuple[Arrays, Bool[np.ndarray, " N"]]:
        """Begins episodes, in a new process if the old one has failed.

        Args:
            mask: Where, at least in one copy.
            seeds: What all random numbers follow from hereafter; None goes on with those there
                are.

        Returns:
            Arrays as `step`, and where episodes have begun: in a new process everywhere.

        Raises:
            SidecarError: The simulator has failed several times in a row.
        """
        if seeds is not None:
            self._seeds = np.random.default_rng(seeds)
        seed = None if seeds is None else self._draw()
        while True:
            try:
                if self._process is None:
                    self._process, self._begun = self._start(), False
                begins = mask if self._begun else np.ones_like(mask)
                self._process.arrays["reset_mask"][:] = begins
                self._process.reset(seed)
                self._begun = True
                return self._process.arrays, begins
            except SidecarError as error:
                self._failed(error)

    def step(self, actions: Float[np.ndarray, "N 10"]) -> Arrays | None:
        """Executes an action in all copies.

        Returns:
            The arrays of `sidecar.layout`, valid until the next call; None where the simulator has
            failed and all episodes are lost.

        Raises:
            SidecarError: It has failed several times in a row.
        """
        if self._process is None:
            return None
        try:
            self._process.arrays["actions"][:] = actions
            self._process.step()
        except SidecarError as error:
            self._failed(error)
            return None
        self._in_a_row = 0
        return self._process.arrays

    def close(self) -> None:
        """Ends the simulator; again is no error."""
        process, self._process = self._process, None
        if process is not None:
            process.close()

    def _start(self) -> SidecarProcess:
        return SidecarProcess(self._python, self._order, self._draw(), self._timeouts)

    def _draw(self) -> int:
        return int(self._seeds.integers(2**32))

    def _failed(self, error: SidecarError) -> None:
        self._process = None  # it has ended
        self.failures += 1
        self._in_a_row += 1
        if self._in_a_row >= _MAX_FAILURES:
            raise SidecarError(f"failed {self._in_a_row} times in a row; the last: {error}")
        logger.warning(
            "%s\nThe episodes of %d copies are lost; it is started again.",
            error,
            self._order.num_envs,
        )
