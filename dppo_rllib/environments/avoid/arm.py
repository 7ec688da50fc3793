"""How the rod follows its command: D3IL's arm, reduced to the plane in which it moves.

D3IL steers a seven-jointed arm by inverse kinematics and a soft joint controller (stiffness 120,
damping 10). Seen from above it stretches and swings about its foot, each as a damped spring with
the inertia that the arm has at that stretch. These numbers were fitted to the arm in MuJoCo (see
`panda`): along demonstrations that were not fitted to, its rod and this one are 4 mm apart (root
mean square; 10.3 mm at most), where the command is 15 mm ahead.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Complex, Float, Int

from dppo_rllib.environments.avoid.table import PILLAR_RADII, PILLARS, ROD_RADIUS

STEP_SECONDS = 0.035  # between two commands
_SUBSTEPS = 4
_REACH = 0.81  # metres from the foot
_STIFFNESS = 120.0
_DAMPING = np.array([8.0, 10.3])  # of stretching and of swinging
_CLEARANCES = PILLAR_RADII + ROD_RADIUS

Rows = Int[np.ndarray, " n"] | slice


class Rods:
    """`N` rods on tables of their own.

    Args:
        num: `N`.

    Attributes:
        desired: Where they shall be, `[N]`, complex; see `table`.
        position: Where they are.
    """

    def __init__(self, num: int):
        self.desired, self.position, self._velocity = np.zeros((3, num), complex)

    def place(self, rows: Rows, places: Complex[np.ndarray, " n"]) -> None:
        """Puts some rods somewhere, at rest."""
        self.desired[rows] = self.position[rows] = places
        self._velocity[rows] = 0

    def move(self, rows: Rows, changes: Complex[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Changes where some rods shall be, and lets them follow for one step.

        Returns:
            Whether they touch a pillar in the end, which is when D3IL looks for it.
        """
        before = _within_reach(self.desired[rows])
        self.desired[rows] += changes
        target = _within_reach(self.desired[rows])
        stretch = np.abs(self.position[rows])
        outwards = self.position[rows] / stretch
        inertia = _inertia(stretch)
        stiffness, damping = _STIFFNESS / inertia, _DAMPING / inertia
        # Real parts stretch, imaginary parts swing. The controller knows how its command changes.
        error = (self.position[rows] - target) * outwards.conj()
        speed = self._velocity[rows] * outwards.conj()
        e, s = _parts(error), _parts(speed)
        s += damping * _parts((target - before) * outwards.conj())
        for _ in range(_SUBSTEPS):
            s -= STEP_SECONDS / _SUBSTEPS * (stiffness * e + damping * s)
            e += STEP_SECONDS / _SUBSTEPS * s
            position = target + error * outwards
            distance = np.abs(position[:, None] - PILLARS)
            touching = distance < _CLEARANCES
            held, pillar = np.nonzero(touching)
            if len(held):  # they slide along, and lose the speed that led inwards
                apart = distance[held, pillar]
                normal = (position[held] - PILLARS[pillar]) / apart / outwards[held]
                error[held] += (_CLEARANCES[pillar] - apart) * normal
                speed[held] -= np.minimum((speed[held] * normal.conj()).real, 0) * normal
        self.position[rows] = target + error * outwards
        self._velocity[rows] = speed * outwards
        return touching.any(axis=-1)


def _inertia(stretch: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Against stretching (kg) and swinging (kg m²), of an arm that is so long."""
    stretching = np.maximum(0.48 - 1.3 * (stretch - 0.6), 0.1)
    return np.stack([stretching, 1.3 + 6.0 * stretch**2], axis=-1)


def _within_reach(places: Complex[np.ndarray, " n"]) -> Complex[np.ndarray, " n"]:
    return places * np.minimum(1, _REACH / np.abs(places))


def _parts(numbers: Complex[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Real and imaginary parts; the same memory."""
    return numbers.view(float).reshape(-1, 2)
