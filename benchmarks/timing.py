"""Speeds that are compared: in turns, because the speed of a machine drifts."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

#: Does about so many steps and returns how many it has done.
Work = Callable[[int], int]


def rates(works: Sequence[tuple[Work, int]], rounds: int) -> list[float]:
    """Medians of steps per CPU second, in turns; of each work its steps of a round."""
    found: list[list[float]] = [[] for _ in works]
    for work, steps in works:
        work(steps)
    for _ in range(rounds):
        for (work, steps), rate in zip(works, found, strict=True):
            start = time.process_time()
            done = work(steps)
            rate.append(done / (time.process_time() - start))
    return [statistics.median(rate) for rate in found]
