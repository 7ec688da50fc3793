"""Environments whose trajectories can be drawn from above, and what stands around there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from dppo_rllib.environments.avoid import ENV_ID, table

Trajectory = Float32[np.ndarray, "T Do"]


@dataclass(frozen=True)
class FloorPlan:
    """What to draw of an environment.

    Attributes:
        columns: Of an observation, where what moves is: x and y.
        corner: Lower left end of the picture, in the same units.
        opposite: Upper right end.
        obstacles: Discs, `(x, y, radius)`.
        line: The y to get to.
        outcomes: What trajectories can come to, in the order in which to name them.
        outcome: Which of these one has come to, an index.
    """

    columns: tuple[int, int]
    corner: tuple[float, float]
    opposite: tuple[float, float]
    obstacles: Float[np.ndarray, "n 3"]
    line: float
    outcomes: tuple[str, ...]
    outcome: Callable[[Trajectory], int]


def floor_plan(env: str | None) -> FloorPlan:
    """The plan of an environment.

    Raises:
        ValueError: It has none.
    """
    if env not in _PLANS:
        raise ValueError(
            f"env={env}: its trajectories cannot be drawn; expected one of {sorted(_PLANS)}"
        )
    return _PLANS[env]


# Single precision may place a rod that touches a pillar that far beside it.
_ROUNDING = 1e-6


def _avoided(trajectory: Trajectory) -> int:
    """By which way of the last row a rod has passed, or that it has touched a pillar."""
    places = trajectory[:, 2].astype(float) + 1j * trajectory[:, 3]
    clearances = table.PILLAR_RADII + table.ROD_RADIUS + _ROUNDING
    if (np.abs(places[:, None] - table.PILLARS) < clearances).any():
        return len(table.LAST_WAYS)
    ways = np.full((1, 3), table.NO_WAY)
    for place in places:
        ways = table.note_ways(ways, np.array([place]))
    way = int(ways[0, -1])
    return table.LAST_WAYS.index(way) if way != table.NO_WAY else len(table.LAST_WAYS) + 1


_PLANS = {
    ENV_ID: FloorPlan(
        columns=(2, 3),
        corner=(table.LEFT, -0.3),
        opposite=(table.RIGHT, 0.5),
        obstacles=np.stack([table.PILLARS.real, table.PILLARS.imag, table.PILLAR_RADII], axis=-1),
        line=table.FINISH,
        outcomes=(*(f"way {way}" for way in table.LAST_WAYS), "touches a pillar", "gets stuck"),
        outcome=_avoided,
    )
}
