"""Passes over training samples, a minibatch at a time, however many of them are in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from dppo_rllib.datasets.chunks import ActionChunks

Gathered = tuple[dict[str, Shaped[Tensor, "B ..."]], Float[Tensor, "B Tp Da"]]
"""Observation histories and action chunks, see `ActionChunks.gather`."""


@runtime_checkable
class Samples(Protocol):
    """`ActionChunks`, or those of a dataset that streams (`StreamedChunks`)."""

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def pools(self, generator: torch.Generator | None) -> Iterator[ActionChunks]:
        """One pass: every sample is in one of the pools, which are there one after the other."""
        ...


@dataclass(frozen=True, eq=False)
class Minibatch:
    """Some samples, which are gathered when they are asked for.

    Attributes:
        pool: What they are taken from.
        rows: `[n]`, which ones of it.
        rest: Samples that come before these: those that an earlier pool had left.
    """

    pool: ActionChunks
    rows: Int64[Tensor, " n"]
    rest: Gathered | None = None

    def __len__(self) -> int:
        return len(self.rows) + (0 if self.rest is None else len(self.rest[1]))

    def gather(self, part: slice) -> Gathered:
        """A part of the samples, on the pool's device."""
        if self.rest is None:
            return self.pool.gather(self.rows[part].to(self.pool.device))
        before, places = len(self.rest[1]), torch.arange(len(self))[part]
        obs, actions = self.rest
        own = places[places < before].to(self.pool.device)
        left = {key: values[own] for key, values in obs.items()}, actions[own]
        rows = self.rows[places[places >= before] - before]
        if not len(rows):
            return left
        right = self.pool.gather(rows.to(self.pool.device))
        joined = {key: torch.cat([left[0][key], right[0][key]]) for key in obs}
        return joined, torch.cat([left[1], right[1]])


def minibatches(
    samples: Samples, size: int, generator: torch.Generator | None
) -> Iterator[Minibatch]:
    """One pass over all samples, each in one minibatch; only the last one may be smaller.

    Args:
        samples: What is passed over.
        size: Samples of a minibatch.
        generator: Shuffles, and is used for nothing else between two minibatches; None keeps
            their order.
    """
    rest: Gathered | None = None
    for pool in samples.pools(generator):
        order = torch.arange(len(pool))
        if generator is not None:
            order = torch.randperm(len(pool), generator=generator)
        if rest is not None:
            wanted = size - len(rest[1])
            batch, order = Minibatch(pool, order[:wanted], rest), order[wanted:]
            if len(batch) < size:
                rest = batch.gather(slice(None))
                continue
            rest = None
            yield batch
        whole = len(order) // size * size
        for rows in order[:whole].split(size) if whole else ():
            yield Minibatch(pool, rows)
        if whole < len(order):
            # The pool makes room for the next one.
            rest = pool.gather(order[whole:].to(pool.device))
    if rest is not None:
        yield Minibatch(pool, order[:0], rest)
