"""Scripted experts that assemble furniture."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture.experts.lamp import lamp
from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    Plan,
    Pose,
    Vector,
    View,
    read_pose,
    towards,
)
from dppo_rllib.environments.furniture.experts.one_leg import one_leg
from dppo_rllib.environments.furniture.experts.round_table import round_table
from dppo_rllib.environments.furniture.scene import BASE
from dppo_rllib.environments.furniture.vector_env import FurnitureVectorEnv

PLANS: dict[str, Callable[[View, Vector], Plan]] = {
    "one_leg": one_leg,
    "lamp": lamp,
    "round_table": round_table,
}
# Standard deviation of how far off things are grasped at imperfection 1 (m).
_SLIP = 0.002
# The hand never makes more than 0.1 m in a step, unless the arm is flung about; what such an
# episode shows is nothing to learn from, and would stretch the ranges of all actions. It fails,
# unless all was assembled before.
_FLUNG = 0.12


class FurnitureExpert:
    """Assembles furniture in all copies of an environment, from what their simulation holds.

    It gives up where the arm is flung about.

    Args:
        envs: The copies.
        imperfection: How far off it grasps; 1 is 2 mm.
    """

    def __init__(self, envs: FurnitureVectorEnv, imperfection: float = 1.0):
        self._envs, self._slip = envs, _SLIP * imperfection
        self._plan = PLANS[envs.assembly.name]
        self._plans: dict[int, tuple[View, Plan]] = {}
        self.max_steps = envs.assembly.max_episode_steps

    @property
    def noise_scale(self) -> Float[np.ndarray, "10"]:
        """Actions are metres: of half their range a tenth, on positions alone."""
        return np.where(np.arange(10) < 3, 0.1, 0.0)

    def begin(self, rows: Int[np.ndarray, " n"], generators: Sequence[np.random.Generator]) -> None:
        """Episodes have begun in some copies; a generator for each."""
        for row, view, generator in zip(rows.tolist(), self._views(rows), generators, strict=True):
            self._plans[row] = (view, self._whole(view, generator))

    def act(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n 10"]:
        """The next actions of some copies."""
        actions = []
        for row, seen in zip(rows.tolist(), self._views(rows), strict=True):
            view, plan = self._plans[row]
            if np.linalg.norm(seen.hand.position - view.hand.position) > _FLUNG:
                plan = _nothing(view)
                self._plans[row] = view, plan
            view.__dict__.update(seen.__dict__)
            actions.append(next(plan))
        return np.array(actions).reshape(-1, 10)

    def _whole(self, view: View, generator: np.random.Generator) -> Plan:
        yield from self._plan(view, generator.normal(0, self._slip, 3))
        yield from _nothing(view)

    def _views(self, rows: Int[np.ndarray, " n"]) -> list[View]:
        envs = self._envs
        hand, poses = envs.hand(), envs.poses().cpu().numpy()
        places, turns = hand.position.cpu().numpy(), hand.rotation.cpu().numpy()
        fingers = envs.simulation.positions[:, 7:9].sum(-1).cpu().numpy()
        return [
            View(
                Pose(places[row], Rotation.from_matrix(turns[row])),
                float(fingers[row]),
                [read_pose(pose) for pose in poses[row, :-1]],
                poses[row, -1, :3] - BASE,
                envs.joined[row].tolist(),
            )
            for row in rows.tolist()
        ]


def _nothing(view: View) -> Plan:
    while True:
        yield towards(view.hand, view.hand, OPEN)
