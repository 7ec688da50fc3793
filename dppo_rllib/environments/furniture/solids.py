"""Primitive solids of which parts collide: plates, rings and screw threads.

Every screw of the benchmark is the same: a tube of 2.2 mm radius along a helix of 9.375 mm pitch,
two turns long, around a core of 10 mm (outer threads) or inside a bore of 12.5 mm (inner ones).
Threads are chains of capsules that touch other threads alone; screwing is contact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from dppo_rllib.environments.physics import mujoco

PITCH = 9.375e-3
BORE = 12.5e-3
SHAFT = 12.2e-3
_TUBE, _TURNS, _CAPSULES_PER_TURN = 2.2e-3, 2, 8
_RUN_OUT = 2.2e-3
_CORE, _OUTER_CENTRE, _INNER_CENTRE = 10.0e-3, 10.0e-3, 13.13e-3

# Who touches whom: MuJoCo lets two geometries touch where one's `contype` meets the other's
# `conaffinity`. Bits: 1 robot, 2 bodies, 4 threads.
ROBOT = {"contype": 1, "conaffinity": 2}
BODY = {"contype": 2, "conaffinity": 3}
_OUTER = {"contype": 4, "conaffinity": 0}
_INNER = {"contype": 0, "conaffinity": 4}
NOTHING = {"contype": 0, "conaffinity": 0}

PART_FRICTION = (0.15, 0.005, 0.0001)
COLLISION_GROUP = 3
_RING_SEGMENTS = 12


@dataclass(frozen=True)
class Axis:
    """Which axis of a part a solid is turned around, and from where angles count.

    Attributes:
        along: Unit vector.
        zero: Where the angle is 0.
        quarter: Where it is a quarter turn.
    """

    along: tuple[int, int, int]
    zero: tuple[int, int, int]
    quarter: tuple[int, int, int]

    def at(self, height: float, radius: float = 0.0, angle: float = 0.0) -> np.ndarray:
        """A point in cylindrical coordinates, `[3]`."""
        around = np.cos(angle) * np.array(self.zero) + np.sin(angle) * np.array(self.quarter)
        return height * np.array(self.along) + radius * around

    def frame(self, angle: float, tilt: float = 0.0) -> np.ndarray:
        """Quaternion of a box whose axes look outwards, along and around, leaning out by `tilt`."""
        out, along = self.at(0, 1, angle), np.array(self.along, float)
        first = np.cos(tilt) * out - np.sin(tilt) * along
        second = np.sin(tilt) * out + np.cos(tilt) * along
        matrix = np.stack([first, second, np.cross(first, second)], axis=1)
        quat = np.zeros(4)
        mujoco.mju_mat2Quat(quat, matrix.flatten())
        return quat


Y = Axis((0, 1, 0), (0, 0, 1), (1, 0, 0))
Z = Axis((0, 0, 1), (1, 0, 0), (0, 1, 0))


@dataclass(frozen=True)
class Solids:
    """Adds solids to a body; lengths in metres, in its frame.

    Attributes:
        body: Of MuJoCo's specification.
        axis: That rings, cylinders and threads are turned around.
    """

    body: Any
    axis: Axis

    def _add(self, kind: str, bits: dict[str, int], **kwargs: Any) -> None:
        self.body.add_geom(
            type=getattr(mujoco.mjtGeom, f"mjGEOM_{kind}"),
            friction=PART_FRICTION,
            mass=0,
            group=COLLISION_GROUP,
            **bits,
            **kwargs,
        )

    def box(self, low: tuple[float, ...], high: tuple[float, ...]) -> None:
        """A box between two corners."""
        a, b = np.array(low), np.array(high)
        self._add("BOX", BODY, size=(b - a) / 2, pos=(a + b) / 2)

    def cut_box(self, half: float, edge: float, low: float, high: float) -> None:
        """A square column around y whose vertical edges are cut: two boxes, one across the other.

        Args:
            half: From the middle to a side (m).
            edge: Half of what is left of a side (m).
            low: The lower end.
            high: The upper end.
        """
        self.box((-half, low, -edge), (half, high, edge))
        self.box((-edge, low, -half), (edge, high, half))

    def sphere(self, height: float, radius: float) -> None:
        """A ball on the axis."""
        self._add("SPHERE", BODY, size=[radius, 0, 0], pos=self.axis.at(height))

    def cylinder(
        self,
        radius: float,
        low: float,
        high: float,
        centre: tuple[float, float, float] = (0, 0, 0),
    ) -> None:
        """A cylinder around a line parallel to the axis."""
        self._round("CYLINDER", BODY, radius, low, high, centre)

    def _round(
        self, kind: str, bits: dict[str, int], radius: float, low: float, high: float, centre: Any
    ) -> None:
        ends = [np.array(centre) + self.axis.at(height) for height in (low, high)]
        self._add(kind, bits, size=[radius, 0, 0], fromto=np.concatenate(ends))

    def ring(
        self,
        inner: float,
        outer: float,
        low: float,
        high: float,
        centre: tuple[float, float, float] = (0, 0, 0),
        segments: int = _RING_SEGMENTS,
    ) -> None:
        """A tube, of boxes."""
        self.funnel((inner, inner), outer - inner, low, high, centre, segments)

    def funnel(
        self,
        inner: tuple[float, float],
        wall: float,
        low: float,
        high: float,
        centre: tuple[float, float, float] = (0, 0, 0),
        segments: int = _RING_SEGMENTS,
    ) -> None:
        """A tube whose inner radius changes from the low to the high end, of boxes."""
        tilt = np.arctan2(inner[1] - inner[0], high - low)
        radius = (inner[0] + inner[1]) / 2 + wall / 2 / np.cos(tilt)
        half_width = (max(inner) + wall) * np.tan(np.pi / segments)
        half_length = (high - low) / 2 / np.cos(tilt)
        for angle in 2 * np.pi * np.arange(segments) / segments:
            self._add(
                "BOX",
                BODY,
                size=[wall / 2, half_length, half_width],
                pos=np.array(centre) + self.axis.at((low + high) / 2, radius, angle),
                quat=self.axis.frame(angle, tilt),
            )

    def inner_thread(
        self,
        start: float,
        phase: float = 0,
        centre: tuple[float, float, float] = (0, 0, 0),
        tube: float = _TUBE,
    ) -> None:
        """A thread in a bore, which begins at a height and an angle.

        Args:
            start: The height.
            phase: The angle.
            centre: Of the bore.
            tube: The thread's radius (m).
        """
        self._helix(_INNER, _INNER_CENTRE, start, phase, centre, tube)

    def screw(
        self,
        low: float,
        high: float,
        start: float,
        phase: float = 0,
        centre: tuple[float, float, float] = (0, 0, 0),
    ) -> None:
        """A shaft with its thread, which begins at a height and an angle.

        The thread runs out towards the tip; there the shaft is as thin as its core. What inner
        threads touch of the core is a capsule: two capsules touch in one point, which is known at
        once, where a cylinder has several that are searched for. Its round ends lie beyond those
        of the core, by its radius; nothing but inner threads meets them.
        """
        for radius, bottom, top in (
            (_CORE, low, start - _RUN_OUT),
            ((_CORE + SHAFT) / 2, start - _RUN_OUT, start + _RUN_OUT),
            (SHAFT, start + _RUN_OUT, high),
        ):
            self.cylinder(radius, bottom, top, centre)
        self._round("CAPSULE", _OUTER, _CORE, low, high, centre)
        self._helix(_OUTER, _OUTER_CENTRE, start, phase, centre, _TUBE)

    def _helix(
        self,
        bits: dict[str, int],
        radius: float,
        start: float,
        phase: float,
        centre: Any,
        tube: float,
    ) -> None:
        turned = 2 * np.pi * np.linspace(0, _TURNS, _TURNS * _CAPSULES_PER_TURN + 1)
        points = [
            np.array(centre)
            + self.axis.at(start + PITCH * angle / (2 * np.pi), radius, phase + angle)
            for angle in turned
        ]
        for low, high in zip(points[:-1], points[1:], strict=True):
            self._add("CAPSULE", bits, size=[tube, 0, 0], fromto=np.concatenate([low, high]))
