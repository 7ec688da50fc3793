"""Can."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from dppo_rllib.environments.robomimic.experts.expert import Expert, Waypoint
from dppo_rllib.environments.robomimic.experts.geometry import Poses, raised
from dppo_rllib.environments.robomimic.simulation import Rows


class CanExpert(Expert):
    """Grasps the can from above and lets it go over its compartment."""

    max_steps = 250
    grasp_error, place_error = 0.011, 0.02

    def _route(self) -> tuple[Waypoint, ...]:
        env = self._simulation.scene.env
        # The middle of the compartment is out of reach.
        bin_ = env.target_bin_placements[env.object_id] - [0.04, 0.04, 0.0]
        above = float(bin_[2]) + 0.3
        return (
            Waypoint(self._over_can(0.12), False, tolerance=0.02, patience=80),
            Waypoint(self._over_can(0.01), False, tolerance=0.008, patience=50),
            self._fingers(True, steps=7),
            Waypoint(self._straight_up(above), True, tolerance=0.02, patience=50),
            Waypoint(self._over_bin(bin_, 0.3), True, tolerance=0.03, patience=80),
            Waypoint(self._over_bin(bin_, 0.16), True, tolerance=0.02, patience=40),
            self._fingers(False, steps=5),
            Waypoint(self._over_bin(bin_, 0.3), False),
        )

    def _over_can(self, height: float) -> Callable[[Rows], Poses]:
        def goal(rows: Rows) -> Poses:
            can, _ = self._body("Can_main", rows)
            return raised(can + self._grasp_offset[rows], height), self._left_yaw[rows]

        return goal

    def _over_bin(self, bin_: Float[np.ndarray, "3"], height: float) -> Callable[[Rows], Poses]:
        def goal(rows: Rows) -> Poses:
            return raised(bin_ + self._place_offset[rows], height), self._left_yaw[rows]

        return goal
