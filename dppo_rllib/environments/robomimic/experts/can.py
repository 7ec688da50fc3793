"""Can."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dppo_rllib.environments.robomimic.experts.arm import Arm, Goal, Route, Waypoint
from dppo_rllib.environments.robomimic.experts.expert import Expert
from dppo_rllib.environments.robomimic.experts.geometry import Poses, raised
from dppo_rllib.environments.robomimic.experts.goals import fingers, straight_up
from dppo_rllib.environments.robomimic.simulation import Rows


class CanExpert(Expert):
    """Grasps the can from above and lets it go over its compartment."""

    max_steps = 250
    grasp_error, place_error = 0.011, 0.02

    def _routes(self) -> tuple[Route, ...]:
        env = self._simulation.scene.env
        # The middle of the compartment is out of reach.
        bin_ = env.target_bin_placements[env.object_id] - [0.04, 0.04, 0.0]
        above = float(bin_[2]) + 0.3
        route = (
            Waypoint(self._over_can(0.12), False, tolerance=0.02, patience=80),
            Waypoint(self._over_can(0.01), False, tolerance=0.008, patience=50),
            fingers(True, steps=7),
            Waypoint(straight_up(above), True, tolerance=0.02, patience=50),
            Waypoint(self._over_bin(bin_, 0.3), True, tolerance=0.03, patience=80),
            Waypoint(self._over_bin(bin_, 0.16), True, tolerance=0.02, patience=40),
            fingers(False, steps=5),
            Waypoint(self._over_bin(bin_, 0.3), False),
        )
        return (route,)

    def _over_can(self, height: float) -> Goal:
        def goal(arm: Arm, rows: Rows) -> Poses:
            can, _ = self._body("Can_main", rows)
            return raised(can + arm.grasp_offset[rows], height), arm.left_yaw[rows]

        return goal

    def _over_bin(self, bin_: Float[np.ndarray, "3"], height: float) -> Goal:
        def goal(arm: Arm, rows: Rows) -> Poses:
            return raised(bin_ + arm.place_offset[rows], height), arm.left_yaw[rows]

        return goal
