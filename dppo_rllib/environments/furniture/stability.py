"""When a copy of a scene has become unstable, whichever simulator steps it."""

from __future__ import annotations

from jaxtyping import Bool, Float
from torch import Tensor

# Faster than this (m/s, rad/s) parts are flung by a fault of contact, not by hands or pushes.
_MAX_SPEED, _MAX_SPIN = 20.0, 500.0
_MAX_PENETRATION = 0.01
_FIRST_PART_VELOCITY = 9


def sound(
    positions: Float[Tensor, "N nq"],
    velocities: Float[Tensor, "N nv"],
    deepest: Float[Tensor, " N"],
) -> Bool[Tensor, " N"]:
    """Which copies are finite, with no part flung or far inside another.

    Args:
        positions: `qpos`.
        velocities: `qvel`: of the robot's nine joints, then of each part linear and angular.
        deepest: The least distance of two bodies that touch (m), below 0 if they overlap.
    """
    speeds = velocities[:, _FIRST_PART_VELOCITY:].unflatten(1, (-1, 2, 3)).abs().amax(dim=(1, 3))
    bounds = speeds.new_tensor([_MAX_SPEED, _MAX_SPIN])
    # Comparisons with what is not a number are false.
    moderate = (speeds <= bounds).all(dim=-1) & (deepest > -_MAX_PENETRATION)
    return moderate & positions.isfinite().all(dim=-1)
