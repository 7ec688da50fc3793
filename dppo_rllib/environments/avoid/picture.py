"""Pictures of Avoid's table, seen from above."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from dppo_rllib.environments.avoid import table

_WIDTH, _HEIGHT = 320, 400
_SCALE = 500  # pixels a metre
_CORNER = 0.18 - 0.32j  # the place that is shown at the lower left
_WHITE, _GREY, _RED, _GREEN, _BLUE = "#ffffff", "#9a9a9a", "#d62728", "#2ca02c", "#1f77b4"


def draw_table(desired: complex, position: complex) -> UInt8[np.ndarray, "400 320 3"]:
    """Pillars and finish line; the rod as a disc, and where it shall be as a ring."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT), _WHITE)
    canvas = ImageDraw.Draw(image)
    line = _pixel(1j * table.FINISH)[1]
    canvas.line([(0, line), (_WIDTH, line)], fill=_GREEN, width=3)
    for x in (table.LEFT, table.RIGHT):
        column = _pixel(x + 0j)[0]
        canvas.line([(column, 0), (column, _HEIGHT)], fill=_GREY)
    for middle, radius in zip(table.PILLARS, table.PILLAR_RADII, strict=True):
        canvas.ellipse(_box(complex(middle), float(radius)), fill=_RED)
    canvas.ellipse(_box(complex(desired), table.ROD_RADIUS), outline=_GREY, width=2)
    canvas.ellipse(_box(complex(position), table.ROD_RADIUS), fill=_BLUE)
    return np.array(image)


def _pixel(place: complex) -> tuple[float, float]:
    return (place - _CORNER).real * _SCALE, _HEIGHT - (place - _CORNER).imag * _SCALE


def _box(middle: complex, radius: float) -> list[tuple[float, float]]:
    (x, y), r = _pixel(middle), radius * _SCALE
    return [(x - r, y - r), (x + r, y + r)]
