"""Lift."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dppo_rllib.environments.robomimic.experts.expert import Expert, Waypoint
from dppo_rllib.environments.robomimic.experts.geometry import Angles, Poses, nearest_turn, raised
from dppo_rllib.environments.robomimic.simulation import Rows


class LiftExpert(Expert):
    """Grasps the cube by the sides that are nearest, and raises it."""

    max_steps = 150
    grasp_error, place_error = 0.014, 0.0

    def _route(self) -> tuple[Waypoint, ...]:
        table = self._simulation.scene.env.table_offset[2]
        return (
            Waypoint(self._over_cube(0.08), False, tolerance=0.015, patience=60),
            Waypoint(self._over_cube(0.0), False, tolerance=0.008, patience=40),
            self._fingers(True, steps=6),
            Waypoint(self._straight_up(table + 0.25), True),
        )

    def _over_cube(self, height: float) -> Callable[[Rows], Poses]:
        def goal(rows: Rows) -> Poses:
            cube, yaw = self._body("cube_main", rows)
            return raised(cube + self._grasp_offset[rows], height), self._nearest(yaw, rows)

        return goal

    def _nearest(self, yaw: Angles, rows: Rows) -> Angles:
        return nearest_turn(yaw, self._left_yaw[rows], np.pi / 2)
