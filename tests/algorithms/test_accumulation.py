"""Gradients summed piece by piece are those of the whole."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dppo_rllib.algorithms.accumulation import accumulate_gradients, balanced_pieces
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics

ROWS = 2001


@pytest.mark.parametrize("threads", [None, 1, 2, 5])
@pytest.mark.parametrize("rows", [0, 1, ROWS])
def test_any_number_of_threads_does_what_backward_does(threads: int | None, rows: int) -> None:
    torch.manual_seed(0)
    network, unused = nn.Linear(3, 2).double(), nn.Linear(1, 1)
    x = torch.randn(rows, 3, dtype=torch.float64)
    parameters = [*network.parameters(), *unused.parameters()]
    network(x[:1]).sum().backward()
    network(x).square().sum().backward()
    expected = [None if p.grad is None else p.grad.clone() for p in parameters]
    for parameter in parameters:
        parameter.grad = None
    network(x[:1]).sum().backward()

    def loss_of(piece: slice, counted: MinibatchStatistics) -> torch.Tensor:
        loss = network(x[piece]).square().sum()
        counted.add(policy_loss=loss)
        return loss

    statistics = MinibatchStatistics(4, torch.device("cpu"))
    accumulate_gradients(loss_of, rows, 300, parameters, statistics, threads)
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert (parameter.grad is None) == (gradient is None)
        if gradient is not None:
            torch.testing.assert_close(parameter.grad, gradient)
    torch.testing.assert_close(statistics.sums[0].double(), network(x).square().sum().detach())


def test_without_parameters_only_statistics_are_counted() -> None:
    def loss_of(piece: slice, counted: MinibatchStatistics) -> torch.Tensor:
        assert not torch.is_grad_enabled()
        counted.add(policy_loss=torch.ones(piece.stop - piece.start))
        return torch.zeros(())

    statistics = MinibatchStatistics(4, torch.device("cpu"))
    accumulate_gradients(loss_of, ROWS, 300, [], statistics, threads=2)
    assert statistics.sums[0] == ROWS


def test_what_a_thread_raises_is_raised() -> None:
    def loss_of(piece: slice, counted: MinibatchStatistics) -> torch.Tensor:
        raise ArithmeticError(f"rows {piece}")

    statistics = MinibatchStatistics(4, torch.device("cpu"))
    with pytest.raises(ArithmeticError, match="rows"):
        accumulate_gradients(loss_of, ROWS, 300, [], statistics, threads=2)


@given(st.integers(0, 10**5), st.integers(100, 10**4), st.integers(1, 64))
def test_pieces_are_equal_and_keep_all_threads_busy(rows: int, largest: int, threads: int) -> None:
    pieces = balanced_pieces(rows, largest, threads)
    sizes = [piece.stop - piece.start for piece in pieces]
    assert sum(sizes) == rows and all(0 < size <= largest for size in sizes)
    assert [p.start for p in pieces] == [0, *[p.stop for p in pieces]][: len(pieces)]
    if sizes:
        assert len(set(sizes[:-1])) <= 1
        assert len(pieces) >= min(threads, rows // 512)
