"""What the parts of the three tasks are made of, for contact.

Measured from the meshes of Furniture-Bench: heights and radii of their cross-sections, and the
helices of their threads, whose tubes lie within 0.02 mm of those written here. Lengths in metres,
in the frame of the mesh.
"""

from __future__ import annotations

import math
from typing import Any

from dppo_rllib.environments.furniture.solids import BORE, Solids, Y, Z

_HALF_TURN = math.pi
# The meshes of round-table's top and leg overlap by 0.65 mm where the leg belongs; PhysX lets them.
# With threads as they are drawn, which do not give way, it would stop about 40° before.
_LOOSE_TUBE = 1.7e-3
_HOLES = [(x, 0.0, z) for x in (-0.05625, 0.05625) for z in (-0.05625, 0.05625)]


def square_table_top(body: Any) -> None:
    """A tray, open upwards, with a threaded boss near every corner."""
    part, half, thick = Solids(body, Y), 0.08125, 0.00625
    low, floor, high = -0.015625, -0.009375, 0.015625
    part.box((-half, low, -half), (half, floor, half))
    for side in (-half, half - thick):
        part.box((side, floor, -half), (side + thick, high, half))
        part.box((-half, floor, side), (half, high, side + thick))
    for hole in _HOLES:
        part.ring(BORE, 0.01625, floor, high, hole)
        part.inner_thread(-0.00943, centre=hole)


def square_table_leg(body: Any) -> None:
    """A leg whose shaft has no thread: one that the task does not ask for."""
    part = Solids(body, Y)
    part.box((-0.015, -0.03125, -0.0156), (0.015, 0.03125, 0.0144))
    part.cylinder(0.0122, -0.05625, -0.03125, (0, 0, -0.0006))


def square_table_screw_leg(body: Any) -> None:
    """A leg with its screw."""
    part = Solids(body, Y)
    part.box((-0.015, -0.03125, -0.0156), (0.015, 0.03125, 0.0144))
    part.screw(-0.05625, -0.03125, start=-0.05, centre=(0, 0, -0.0006))


def lamp_base(body: Any) -> None:
    """A foot with a threaded tube, whose upper rim is a square plate with cut corners.

    The hood slips over the plate; its corners carry it.
    """
    part = Solids(body, Y)
    half = 0.0276
    part.ring(BORE, 0.0162, -0.0458, -0.015)
    for side in (1, -1):
        strip = sorted((side * 0.0155, side * half))
        part.box((strip[0], -0.0458, -half), (strip[1], -0.0415, half))
        part.box((-0.0155, -0.0458, strip[0]), (0.0155, -0.0415, strip[1]))
    part.inner_thread(-0.03909, phase=_HALF_TURN)
    part.cylinder(0.0185, -0.015, -0.008)
    part.cylinder(0.03, -0.008, 0.0)
    part.box((-0.0345, 0.0, -0.0345), (0.0345, 0.006, 0.0345))
    part.box((-0.04235, 0.006, -0.04235), (0.04235, 0.0172, 0.04235))


def lamp_bulb(body: Any) -> None:
    """A ball on a square neck on a screw."""
    part = Solids(body, Y)
    part.screw(-0.05, -0.0206, start=-0.04074, phase=_HALF_TURN)
    part.cylinder(0.0205, -0.0206, -0.014)
    part.cut_box(0.0175, 0.014, -0.014, 0.012)
    part.sphere(0.038, 0.03)


def lamp_hood(body: Any) -> None:
    """A cone without a bottom or a lid."""
    Solids(body, Y).funnel((0.026, 0.04), 0.004, -0.05142, 0.04858, segments=24)


def round_table_top(body: Any) -> None:
    """A round tray with a threaded boss in its middle."""
    part = Solids(body, Z)
    part.cylinder(0.1, -0.00125, 0.0048)
    part.ring(0.09375, 0.1, 0.0048, 0.0175, segments=24)
    part.ring(BORE, 0.02125, 0.0048, 0.03125)
    part.inner_thread(0.00499, phase=_HALF_TURN, tube=_LOOSE_TUBE)


def round_table_leg(body: Any) -> None:
    """A screw below, a square grip, and a threaded hole above."""
    part = Solids(body, Y)
    part.screw(-0.039375, -0.0114, start=-0.03186, phase=_HALF_TURN / 2)
    part.cut_box(0.0163, 0.0136, -0.0114, 0.012)
    part.cylinder(0.02125, 0.012, 0.0244)
    part.ring(BORE, 0.02125, 0.0244, 0.051875)
    part.inner_thread(0.02438, phase=-_HALF_TURN / 2)


def round_table_base(body: Any) -> None:
    """A cross on a screw; its arms are narrower near the middle, where fingers find room."""
    part, low, high = Solids(body, Z), -0.00125, 0.01125
    waist, root, half, end = 0.0105, 0.0325, 0.0149, 0.065
    part.screw(-0.02875, 0.0, start=-0.01999, phase=_HALF_TURN)
    part.cylinder(0.02, low, high)
    part.box((-root, -waist, low), (root, waist, high))
    part.box((-waist, -root, low), (waist, root, high))
    for near, far in ((-end, -root), (root, end)):
        part.box((near, -half, low), (far, half, high))
        part.box((-half, near, low), (half, far, high))
