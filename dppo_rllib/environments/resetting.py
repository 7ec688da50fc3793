"""What `reset` of many copies is asked for: seeds, and which copies."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

Seeds = int | Sequence[int | None] | None


def seeds_of(seed: Seeds, num_envs: int) -> Sequence[int | None]:
    """The seed of each copy, as Gymnasium has it: `seed + i`, the `i`-th of a list, or none.

    Raises:
        ValueError: A list of another length.
    """
    if seed is None:
        return [None] * num_envs
    if isinstance(seed, Sequence):
        if len(seed) != num_envs:
            raise ValueError(f"seed: {len(seed)} entries, expected {num_envs}")
        return seed
    first = operator.index(seed)
    return [first + i for i in range(num_envs)]


def reseed(generators: list[np.random.Generator], seed: Seeds) -> None:
    """Replaces the generators of those copies that get a seed; see `seeds_of`."""
    for i, own in enumerate(seeds_of(seed, len(generators))):
        if own is not None:
            generators[i] = np.random.default_rng(own)


def rows_to_reset(options: dict[str, Any] | None, num_envs: int) -> Int[np.ndarray, " n"]:
    """The copies that `options["reset_mask"]` (`[N]`, bool) names; all without it."""
    return np.flatnonzero((options or {}).get("reset_mask", np.ones(num_envs, bool)))
