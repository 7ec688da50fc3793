"""Gradients of a loss that is a sum over many rows: piece by piece, in threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.modules.threads import torch_threads

_SMALLEST_PIECE = 256  # rows; matrix products of fewer are slow
_Gradients = Sequence[Tensor | None]


def accumulate_gradients(
    loss_of: Callable[[slice, MinibatchStatistics], Tensor],
    rows: int,
    microbatch_size: int,
    parameters: Sequence[nn.Parameter],
    statistics: MinibatchStatistics,
    threads: int | None,
) -> None:
    """Adds the gradient of a loss over `rows` to `.grad`, as `backward` would.

    A thread takes whole pieces of rows: threads that share each matrix product would wait for one
    another after every one of them. The result depends on their number only by rounding, and not
    at all on which is faster.

    Args:
        loss_of: Loss summed over a piece, whose statistics it adds to those it is given. It is
            called from several threads at once.
        rows: How many there are, possibly none.
        microbatch_size: Rows of a piece at most.
        parameters: What to differentiate by; none only counts statistics.
        statistics: Where the statistics of all pieces are added.
        threads: How many take part; None leaves a single one to torch's own threads.
    """

    def work(share: Sequence[slice]) -> tuple[_Gradients, MinibatchStatistics]:
        total: _Gradients = [None] * len(parameters)
        counted = statistics.empty()
        for piece in share:
            with torch.set_grad_enabled(bool(parameters)):
                loss = loss_of(piece, counted)
            if parameters:
                gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
                total = _added(total, gradients)
        return total, counted

    pieces = balanced_pieces(rows, microbatch_size, threads or 1)
    shares = [pieces[i :: threads or 1] for i in range(min(threads or 1, len(pieces)))]
    if len(shares) < 2:
        results = [work(share) for share in shares]
    else:
        with torch_threads(1), ThreadPoolExecutor(len(shares)) as pool:
            results = list(pool.map(work, shares))
    total: _Gradients = [p.grad for p in parameters]
    for gradients, counted in results:
        total = _added(total, gradients)
        statistics.merge(counted)
    for parameter, gradient in zip(parameters, total, strict=True):
        parameter.grad = gradient


def balanced_pieces(rows: int, largest: int, threads: int) -> list[slice]:
    """Pieces of equal size, of `largest` rows at most, and as many for each thread."""
    needed = math.ceil(rows / largest)
    shared = math.ceil(needed / threads) * threads
    count = max(1, needed, min(shared, rows // _SMALLEST_PIECE))
    size = max(1, math.ceil(rows / count))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _added(total: _Gradients, gradients: _Gradients) -> _Gradients:
    """Sums; None stands for zeros."""
    return [
        b if a is None else a if b is None else a + b for a, b in zip(total, gradients, strict=True)
    ]
