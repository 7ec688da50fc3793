"""Square."""

from __future__ import annotations

import numpy as np

from dppo_rllib.environments.robomimic.experts.arm import Arm, Goal, Route, Waypoint
from dppo_rllib.environments.robomimic.experts.expert import Expert
from dppo_rllib.environments.robomimic.experts.geometry import (
    Angles,
    Poses,
    Positions,
    nearest_turn,
    raised,
    wrapped,
)
from dppo_rllib.environments.robomimic.experts.goals import fingers, straight_up
from dppo_rllib.environments.robomimic.simulation import Rows


class SquareExpert(Expert):
    """Grasps the nut by its handle, and threads it onto the peg.

    The hand is upright when the nut comes down: tilted, it would rest on the peg.
    """

    max_steps = 300
    grasp_error, place_error = 0.004, 0.002
    # Where the handle is free of the frame, from the middle of the nut.
    _GRASP = 0.062
    # Heights of the nut over the middle of the peg: before it comes down, where it waits until it
    # is where it should be, where it can no longer slip off, and where it is let go.
    _ABOVE, _WAITING, _THREADED, _DOWN = 0.18, 0.117, 0.104, 0.05
    # How far beside its place a nut may come down, in metres.
    _ALIGNED = 0.006

    def _routes(self) -> tuple[Route, ...]:
        table = self._simulation.scene.env.table_offset[2]
        route = (
            Waypoint(self._over_handle(0.1), False, tolerance=0.012, patience=80),
            Waypoint(self._over_handle(0.0), False, tolerance=0.007, patience=50),
            fingers(True, steps=8),
            Waypoint(straight_up(table + 0.26), True, tolerance=0.02, patience=50),
            Waypoint(self._over_peg, True, tolerance=0.01, patience=120, wait=20),
            Waypoint(self._onto_peg, True, tolerance=0.005, patience=150),
            fingers(False, steps=5),
            Waypoint(straight_up(table + 0.28), False),
        )
        return (route,)

    def _over_handle(self, height: float) -> Goal:
        def goal(arm: Arm, rows: Rows) -> Poses:
            nut, turned = self._nut(rows)
            outwards = np.stack([np.cos(turned), np.sin(turned), np.zeros(len(rows))], axis=-1)
            grasp = nut + self._GRASP * outwards + arm.grasp_offset[rows]
            # Fingers move along the hand's x axis, which is to lie across the handle.
            yaw = nearest_turn(turned + np.pi / 2, arm.left_yaw[rows], np.pi)
            place = raised(grasp, height)
            # It comes down only over its goal: a finger would strike the handle.
            beside = np.linalg.norm((place - arm.hand[rows])[:, :2], axis=-1)
            place[:, 2] += (5 * (beside - self._ALIGNED)).clip(0, 0.1 - height)
            return place, yaw

        return goal

    def _over_peg(self, arm: Arm, rows: Rows) -> Poses:
        way, turn = self._way_of_nut(arm, rows)
        way[:, 2] += self._ABOVE
        return self._bring(arm, rows, way, turn)

    def _onto_peg(self, arm: Arm, rows: Rows) -> Poses:
        way, turn = self._way_of_nut(arm, rows)
        height = -way[:, 2]
        threaded = height < self._THREADED
        aligned = np.linalg.norm(way[:, :2], axis=-1) < self._ALIGNED
        way[:, 2] += np.where(threaded | aligned, self._DOWN, self._WAITING)
        way[threaded, :2] = 0  # the peg guides it
        return self._bring(arm, rows, way, turn)

    def _bring(self, arm: Arm, rows: Rows, way: Positions, turn: Angles) -> Poses:
        """Where the hand must be for the nut to go this way, slowly downwards, and turn so."""
        way[:, 2] = way[:, 2].clip(-0.02, 0.1)
        return arm.hand[rows] + way, arm.yaw[rows] + turn

    def _way_of_nut(self, arm: Arm, rows: Rows) -> Poses:
        """From the nut to the middle of the peg, and how far it must turn to fit."""
        nut, turned = self._nut(rows)
        # With a handle that points away from the robot the peg is out of reach.
        turns = wrapped(np.array([-np.pi / 2, np.pi / 2, np.pi]) - turned[:, None])
        turn = turns[np.arange(len(rows)), np.abs(turns).argmin(axis=-1)]
        return self._body("peg1", rows)[0] + arm.place_offset[rows] - nut, turn

    def _nut(self, rows: Rows) -> Poses:
        """Where the nut is, and where its handle points to."""
        nut, _ = self._body("SquareNut_main", rows)
        away = self._site("SquareNut_handle_site", rows) - nut
        return nut, np.arctan2(away[:, 1], away[:, 0])
