"""Demonstrations of Avoid: along a curve between the pillars, by one of several ways.

As in the data that DPPO's authors chose from D3IL's: past the first pillar on its right, past the
second row on its left, then by a way of the last row that is drawn for each episode.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from dppo_rllib.environments.avoid import table
from dppo_rllib.environments.avoid.vector_env import MAX_CHANGE, AvoidVectorEnv

# Where curves lead through the last row, by way: some points up to its pillars, then straight on.
_LAST_POINTS = {
    5: (0.3 + 0.2j, 0.285 + 0.3j),
    6: (0.385 + 0.175j, 0.425 + 0.25j),
    7: (0.45 + 0.165j, 0.575 + 0.25j),
    8: (0.45 + 0.155j, 0.6 + 0.18j, 0.7 + 0.27j, 0.685 + 0.35j),
}
_FIRST_POINTS = (0.57 - 0.12j, 0.45 - 0.01j, 0.36 + 0.07j)
_END = 0.45  # y, beyond the line
_SPREAD = 0.008  # standard deviation of the points, in metres
_SPEEDS = (0.85, 0.98)  # as shares of the largest change


class Demonstrator:
    """Leads rods along curves; a `ScriptedExpert`.

    Args:
        env: The tables.
        ways: Through the last row, among which one is drawn for each episode, evenly.
        imperfection: Multiplies how far curves differ from each other; 0 gives one for each way.

    Attributes:
        max_steps: Of an episode.
        noise_scale: How much noise actions bear.

    Raises:
        ValueError: There is no such way, or the imperfection is negative or not finite.
    """

    max_steps = 130
    noise_scale: Float[np.ndarray, "2"] = np.ones(2)

    def __init__(
        self,
        env: AvoidVectorEnv,
        ways: Sequence[int] = table.LAST_WAYS,
        imperfection: float = 1.0,
    ):
        if not ways or set(ways) - set(table.LAST_WAYS):
            raise ValueError(f"ways={list(ways)}: expected some of {list(table.LAST_WAYS)}")
        if not 0 <= imperfection < np.inf:
            raise ValueError(f"imperfection={imperfection}: expected a number from 0")
        self._rods, self._ways, self._imperfection = env.rods, tuple(ways), imperfection
        self._curves: dict[int, _Curve] = {}

    def begin(self, rows: np.ndarray, generators: Sequence[np.random.Generator]) -> None:
        """Episodes have begun in some copies; a generator draws the curve of each."""
        for row, generator in zip(rows.tolist(), generators, strict=True):
            way = self._ways[generator.integers(len(self._ways))]
            points = np.array([*_FIRST_POINTS, *_LAST_POINTS[way]])
            points = points + generator.normal(size=len(points)) * _SPREAD * self._imperfection
            ends = np.array([points[-1].real + 1j * table.FINISH, points[-1].real + 1j * _END])
            low, high = _SPEEDS
            share = high - (high - low) * min(self._imperfection, 1.0) * generator.random()
            start = self._rods.desired[row]
            self._curves[row] = _Curve(np.array([start, *points, *ends]), share * MAX_CHANGE)

    def act(self, rows: np.ndarray) -> Float[np.ndarray, "n 2"]:
        """The next changes of some copies, towards the next points of their curves."""
        goals = np.array([self._curves[row].advance() for row in rows.tolist()])
        changes = goals - self._rods.desired[rows]
        return np.stack([changes.real, changes.imag], axis=-1).clip(-MAX_CHANGE, MAX_CHANGE)


class _Curve:
    """A smooth curve through points, passed in equal steps, as counted by the larger coordinate."""

    def __init__(self, points: np.ndarray, step: float):
        ways = np.abs(np.diff(points))
        curve = PchipInterpolator(np.concatenate([[0.0], ways.cumsum()]), _pair(points))
        fine = curve(np.linspace(0, ways.sum(), 400))
        passed = np.abs(np.diff(fine, axis=0)).max(axis=-1).cumsum()
        self._goals = fine[np.searchsorted(passed, np.arange(step, passed[-1], step))]
        self._next = 0

    def advance(self) -> complex:
        """The next point; the last one again and again."""
        x, y = self._goals[min(self._next, len(self._goals) - 1)]
        self._next += 1
        return complex(x, y)


def _pair(points: np.ndarray) -> np.ndarray:
    return np.stack([points.real, points.imag], axis=-1)
