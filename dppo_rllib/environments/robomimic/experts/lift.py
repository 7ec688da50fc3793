"""Lift."""

from __future__ import annotations

import numpy as np

from dppo_rllib.environments.robomimic.experts.arm import Arm, Goal, Route, Waypoint
from dppo_rllib.environments.robomimic.experts.expert import Expert
from dppo_rllib.environments.robomimic.experts.geometry import Poses, nearest_turn, raised
from dppo_rllib.environments.robomimic.experts.goals import fingers, straight_up
from dppo_rllib.environments.robomimic.simulation import Rows


class LiftExpert(Expert):
    """Grasps the cube by the sides that are nearest, and raises it."""

    max_steps = 150
    grasp_error, place_error = 0.014, 0.0

    def _routes(self) -> tuple[Route, ...]:
        table = self._simulation.scene.env.table_offset[2]
        route = (
            Waypoint(self._over_cube(0.08), False, tolerance=0.015, patience=60),
            Waypoint(self._over_cube(0.0), False, tolerance=0.008, patience=40),
            fingers(True, steps=6),
            Waypoint(straight_up(table + 0.25), True),
        )
        return (route,)

    def _over_cube(self, height: float) -> Goal:
        def goal(arm: Arm, rows: Rows) -> Poses:
            cube, yaw = self._body("cube_main", rows)
            nearest = nearest_turn(yaw, arm.left_yaw[rows], np.pi / 2)
            return raised(cube + arm.grasp_offset[rows], height), nearest

        return goal
