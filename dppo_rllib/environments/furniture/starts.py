"""How episodes begin: joints and obstacle drawn at random, parts pushed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dppo_rllib.environments.furniture.assemblies import Assembly
from dppo_rllib.environments.furniture.scene import OBSTACLE, REST


@dataclass(frozen=True)
class Randomness:
    """How much.

    Attributes:
        joint: Of the arm's joints, to both sides (rad).
        obstacle: Of the obstacle in x and y, to both sides (m).
        force: Of the pushes (N), times a part's factor.
        torque: Of the twists (Nm), to both sides, times a part's factor.
    """

    joint: float
    obstacle: float
    force: float
    torque: float


# Of the original's step of 1/60 s forces act in the first of two parts: in both, parts would leave
# the table at low randomness (the hood would slide a metre). In physics steps, as is how long a
# part settles that is to be held.
PUSH_STEPS, FREE_STEPS = 4, 4
SETTLING_STEPS = 80

RANDOMNESS = {
    "low": Randomness(np.radians(5), 0.02, 0.2, 0.007),
    "med": Randomness(np.radians(10), 0.04, 0.5, 0.01),
}


@dataclass(frozen=True)
class Start:
    """How an episode begins.

    Attributes:
        joints: Of the arm (rad).
        obstacle: Where it is, in the world (m).
        wrenches: On the parts for the first 1/120 s: force (N), then torque (Nm), in the world.
    """

    joints: Float[np.ndarray, "7"]
    obstacle: Float[np.ndarray, "3"]
    wrenches: Float[np.ndarray, "parts 6"]


def draw(assembly: Assembly, randomness: Randomness, generator: np.random.Generator) -> Start:
    """A start: forces have any direction in the plane, twists are about the vertical."""
    joints = REST + generator.uniform(-randomness.joint, randomness.joint, 7)
    obstacle = OBSTACLE.copy()
    obstacle[:2] += generator.uniform(-randomness.obstacle, randomness.obstacle, 2)
    count = len(assembly.parts)
    wrenches = np.zeros((count, 6))
    direction = generator.uniform(0, 2 * np.pi, count)
    force = generator.uniform(0, randomness.force, count) * [p.force for p in assembly.parts]
    wrenches[:, 0], wrenches[:, 1] = force * np.cos(direction), force * np.sin(direction)
    twist = generator.uniform(-randomness.torque, randomness.torque, count)
    wrenches[:, 5] = twist * [p.torque for p in assembly.parts]
    return Start(joints, obstacle, wrenches)
