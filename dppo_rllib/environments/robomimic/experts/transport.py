"""Transport."""

from __future__ import annotations

import numpy as np

from dppo_rllib.environments.robomimic.experts.arm import Arm, Goal, Route, Waypoint
from dppo_rllib.environments.robomimic.experts.expert import Expert
from dppo_rllib.environments.robomimic.experts.geometry import (
    Poses,
    Positions,
    at_height,
    nearest_turn,
)
from dppo_rllib.environments.robomimic.experts.goals import (
    at_level,
    fingers,
    slowly,
    still,
    straight_up,
)
from dppo_rllib.environments.robomimic.simulation import Rows

# Heights of the world: of hands over bins, with the hammer in them too, and over the other hand.
_OVER_BINS, _HIGH_OVER_BINS, _OUT_OF_THE_WAY = 1.05, 1.1, 1.25
# Of hands that let go of the lid or the trash, and of the hammer when it is let go.
_ON_TABLE, _IN_BIN, _DOWN = 0.835, 0.9, 0.86
# How far a hand goes at once within a bin. An arm whose hand goes up or down near the robot swings
# its elbow, which pushes the hand aside, the more the faster it goes.
_STEP = 0.02


class TransportExpert(Expert):
    """One arm takes off the lid and holds out the hammer; the other empties its bin and takes it.

    The hammer lies about along the line from arm to arm: each holds it by the end on its own side.
    """

    max_steps = 700
    grasp_error, place_error = 0.004, 0.01
    gain = 1.5
    # From the middle of the handle to where a hand holds it.
    _GRASP = 0.06
    # Where the hammer changes hands, and where the other hand waits for it.
    _MEETING, _BESIDE_MEETING = (0.0, 0.0, 1.05), (0.0, 0.2, 1.2)

    def _routes(self) -> tuple[Route, ...]:
        return self._giving(), self._taking()

    def _giving(self) -> Route:
        aside = self._beside_start_bin
        return (
            *_grasp(self._lid),
            _lift(_OVER_BINS),
            Waypoint(at_level(aside, _OVER_BINS), True, tolerance=0.03, patience=80),
            Waypoint(at_level(aside, _ON_TABLE), True, tolerance=0.015, patience=50),
            fingers(False, steps=5, hand=still),
            Waypoint(straight_up(_OVER_BINS), False, tolerance=0.03, patience=50),
            *_grasp(self._end_of_hammer(-self._GRASP)),
            _lift(_HIGH_OVER_BINS),
            # They wait until both are there, until the hammer is grasped, until it is let go.
            Waypoint(self._hold_out, True, patience=120, wait=20, together=True),
            Waypoint(still, True, patience=20, together=True),
            fingers(False, steps=5, hand=still),
            Waypoint(straight_up(_OUT_OF_THE_WAY), False, 0.03, patience=50, together=True),
            Waypoint(still, False),
        )

    def _taking(self) -> Route:
        return (
            *_grasp(self._trash),
            _lift(_OVER_BINS),
            Waypoint(at_level(self._trash_bin, _OVER_BINS), True, tolerance=0.03, patience=80),
            Waypoint(at_level(self._trash_bin, _IN_BIN), True, tolerance=0.03, patience=40),
            fingers(False, steps=5, hand=still),
            Waypoint(straight_up(_HIGH_OVER_BINS), False, tolerance=0.03, patience=50),
            # They wait, as above.
            Waypoint(self._beside_meeting, False, tolerance=0.03, patience=120, together=True),
            *_grasp(self._end_of_hammer(self._GRASP)),
            Waypoint(still, True, patience=20, together=True),
            Waypoint(still, True, patience=20, together=True),
            Waypoint(straight_up(_HIGH_OVER_BINS), True, tolerance=0.02, patience=50),
            Waypoint(self._over_target_bin(_HIGH_OVER_BINS), True, tolerance=0.02, patience=120),
            Waypoint(slowly(self._over_target_bin(_DOWN), _STEP), True, patience=60),
            fingers(False, steps=5, hand=still),
            Waypoint(straight_up(_HIGH_OVER_BINS), False),
        )

    def _lid(self, arm: Arm, rows: Rows) -> Poses:
        lid, yaw = self._body("transport_start_bin_lid_root", rows)
        return lid + arm.grasp_offset[rows], nearest_turn(yaw, arm.left_yaw[rows], np.pi)

    def _trash(self, arm: Arm, rows: Rows) -> Poses:
        trash, yaw = self._body("trash_main", rows)
        return trash + arm.grasp_offset[rows], nearest_turn(yaw, arm.left_yaw[rows], np.pi / 2)

    def _beside_start_bin(self, arm: Arm, rows: Rows) -> Poses:
        place = self._simulation.scene.env.table_offsets[0] - [0.2, 0.0, 0.0]
        return place + arm.place_offset[rows], arm.left_yaw[rows]

    def _trash_bin(self, arm: Arm, rows: Rows) -> Poses:
        bin_, _ = self._body("transport_trash_bin_root", rows)
        return bin_ + arm.place_offset[rows], arm.left_yaw[rows]

    def _end_of_hammer(self, side: float) -> Goal:
        def goal(arm: Arm, rows: Rows) -> Poses:
            hammer, along = self._hammer(rows)
            # Fingers move along the hand's x axis, which is to lie across the handle.
            yaw = np.arctan2(along[:, 1], along[:, 0]) - np.pi / 2
            grasp = hammer + side * along + arm.grasp_offset[rows]
            return grasp, nearest_turn(yaw, arm.left_yaw[rows], np.pi)

        return goal

    def _beside_meeting(self, arm: Arm, rows: Rows) -> Poses:
        yaw = nearest_turn(np.zeros(len(rows)), arm.left_yaw[rows], np.pi)
        return np.tile(self._BESIDE_MEETING, (len(rows), 1)), yaw

    def _hold_out(self, arm: Arm, rows: Rows) -> Poses:
        return self._bring(arm, rows, np.tile(self._MEETING, (len(rows), 1)))

    def _over_target_bin(self, height: float) -> Goal:
        def goal(arm: Arm, rows: Rows) -> Poses:
            bin_, _ = self._body("transport_target_bin_root", rows)
            return self._bring(arm, rows, at_height(bin_ + arm.place_offset[rows], height))

        return goal

    def _bring(self, arm: Arm, rows: Rows, place: Positions) -> Poses:
        """Where a hand must be for the hammer to get to a place, along the line from arm to arm."""
        hammer, along = self._hammer(rows)
        turn = np.pi / 2 - np.arctan2(along[:, 1], along[:, 0])
        return arm.hand[rows] + place - hammer, arm.yaw[rows] + turn

    def _hammer(self, rows: Rows) -> tuple[Positions, Positions]:
        """The middle of its handle, and the direction of the end towards the second arm."""
        hammer, _ = self._body("payload_root", rows)
        along = self._body_axes("payload_root", rows)[:, :, 2]
        return hammer, along * np.sign(along[:, 1:2])


def _grasp(place: Goal) -> Route:
    """From above, once the arm has come to rest."""
    return (
        Waypoint(at_level(place, _OVER_BINS), False, tolerance=0.015, patience=80),
        Waypoint(slowly(place, _STEP), False, tolerance=0.008, patience=70, wait=40),
        fingers(True, steps=8, hand=still),
    )


def _lift(height: float) -> Waypoint:
    return Waypoint(slowly(straight_up(height), _STEP), True, tolerance=0.015, patience=60)
