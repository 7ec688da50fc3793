"""Gradients of a loss that is a sum over many rows: piece by piece, in threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.modules.threads import torch_threads


def accumulate_gradients(
    loss_of: Callable[[slice, MinibatchStatistics], Tensor],
    pieces: Sequence[slice],
    parameters: Sequence[nn.Parameter],
    statistics: MinibatchStatistics,
    threads: int | None,
) -> None:
    """Puts the gradient of the sum of `loss_of` over all pieces into `.grad`.

    A thread takes whole pieces: threads that share each matrix product would wait for one another
    after every one of them. The result depends on their number only by rounding, and not at all
    on which is faster.

    Args:
        loss_of: Loss of a piece of rows, which adds its statistics to those it is given.
        pieces: Pieces of rows, as small as fits a cache.
        parameters: What to differentiate by; none only counts statistics.
        statistics: Where the statistics of all pieces are added.
        threads: How many take part; None leaves a single one to torch's own threads.
    """

    def work(share: Sequence[slice]) -> tuple[list[Tensor], MinibatchStatistics]:
        total: list[Tensor] = []
        counted = statistics.empty()
        for piece in share:
            with torch.set_grad_enabled(bool(parameters)):
                loss = loss_of(piece, counted)
            if parameters:
                total = _added(total, torch.autograd.grad(loss, parameters))
        return total, counted

    shares = [pieces[i :: threads or 1] for i in range(min(threads or 1, len(pieces)))]
    if len(shares) < 2:
        results = [work(share) for share in shares]
    else:
        with torch_threads(1), ThreadPoolExecutor(len(shares)) as pool:
            results = list(pool.map(work, shares))
    total: list[Tensor] = []
    for gradients, counted in results:
        total = _added(total, gradients)
        statistics.merge(counted)
    for parameter, gradient in zip(parameters, total, strict=False):
        parameter.grad = gradient


def _added(total: list[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Nothing counts as zeros."""
    if not total:
        return list(gradients)
    return [a + b for a, b in zip(total, gradients, strict=True)]
