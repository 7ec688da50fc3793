"""What stands on Avoid's table: six pillars in three rows, a finish line, and the ways between.

Places are complex numbers `x + iy`, in metres from the foot of the arm. The numbers are those of
D3IL's Avoiding environment (arXiv 2402.14606) in the version that DPPO's authors use.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Complex, Float, Int

START = 0.525 - 0.28j
FINISH = 0.4  # the line to cross, its y
LEFT, RIGHT = 0.2, 0.8  # between these x the table is free to use
ROD_RADIUS = 0.01

_OFFSET, _LEVELS = 0.075, (-0.1, 0.08, 0.26)
#: The middles of the pillars, row by row from the start on.
PILLARS: Complex[np.ndarray, "6"] = np.array(
    [0.5 + 1j * _LEVELS[0]]
    + [0.5 + k * _OFFSET + 1j * _LEVELS[1] for k in (-1, 1)]
    + [0.5 + k * _OFFSET + 1j * _LEVELS[2] for k in (-2, 0, 2)]
)
PILLAR_RADII: Float[np.ndarray, "6"] = np.array([0.03, 0.025, 0.025, 0.025, 0.025, 0.025])

#: Ways through the last row, by x: left of its pillars, between them, right of them.
LAST_WAYS = (5, 6, 7, 8)
NO_WAY = -1
_NEAR = 0.03  # how near in y to one of the first two rows counts as passing it
# Of each row its y, the x of its pillars, and the number of its leftmost way.
_ROWS = tuple(
    (level, PILLARS.real[PILLARS.imag == level], first)
    for level, first in zip(_LEVELS, (0, 2, 5), strict=True)
)


def note_ways(
    ways: Int[np.ndarray, "n 3"], places: Complex[np.ndarray, " n"]
) -> Int[np.ndarray, "n 3"]:
    """Ways taken so far, with those that are being taken now.

    A row counts where it is passed first: the first two rows 3 cm before or behind their pillars,
    the last one at the pillars.

    Args:
        ways: Of each row of pillars the number of the way, `NO_WAY` before.
        places: Where the rods are.
    """
    ways = ways.copy()
    for row, (level, edges, first) in enumerate(_ROWS):
        last = row == len(_ROWS) - 1
        there = places.imag >= level if last else np.abs(places.imag - level) <= _NEAR
        new = there & (ways[:, row] == NO_WAY)
        if new.any():
            ways[new, row] = first + np.searchsorted(edges, places.real[new])
    return ways
