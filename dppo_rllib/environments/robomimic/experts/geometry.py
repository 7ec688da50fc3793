"""Positions and angles of many copies."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Positions = Float[np.ndarray, "n 3"]
Angles = Float[np.ndarray, " n"]
Poses = tuple[Positions, Angles]


def raised(positions: Positions, height: float) -> Positions:
    """So much higher."""
    return positions + [0.0, 0.0, height]


def at_height(positions: Positions, height: float) -> Positions:
    """With this height."""
    return np.concatenate([positions[:, :2], np.full((len(positions), 1), height)], axis=-1)


def nearest_turn(angles: Angles, to: Angles, period: float) -> Angles:
    """Of angles that are the same up to multiples of a period those nearest to others."""
    return angles + np.round((to - angles) / period) * period


def wrapped(angles: Float[np.ndarray, "*n"]) -> Float[np.ndarray, "*n"]:
    """From -pi to pi."""
    return np.arctan2(np.sin(angles), np.cos(angles))
