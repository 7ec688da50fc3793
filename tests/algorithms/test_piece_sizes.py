"""How large the pieces of a minibatch are."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dppo_rllib.algorithms import piece_sizes
from dppo_rllib.algorithms.piece_sizes import (
    PieceSizes,
    activation_bytes,
    bytes_per_row,
    free_bytes,
)
from dppo_rllib.modules.precision import autocast

CPU = torch.device("cpu")


def loss_of(network: nn.Module, x: Tensor, *, mixed_precision: bool = False) -> Callable:
    def loss(piece: slice) -> Tensor:
        with autocast(CPU, mixed_precision):
            return network(x[piece].clone()).float().square().sum()

    return loss


def test_activations_are_counted_once_and_weights_are_not() -> None:
    network = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    x = torch.randn(16, 8)
    # The input, the hidden layer (which ReLU and the next layer share), and what is squared.
    expected = 4 * (8 + 4 + 2)
    loss = loss_of(network, x)
    assert activation_bytes(lambda: loss(slice(None)), network) == 16 * expected
    with torch.no_grad():
        assert activation_bytes(lambda: loss(slice(None)), network) == 16 * expected
    assert bytes_per_row(loss, available=16, probe=4, module=network) == expected


def test_copies_of_weights_in_lower_precision_are_no_activations() -> None:
    network = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 2))
    x = torch.randn(100, 512)
    single, half = (
        bytes_per_row(loss_of(network, x, mixed_precision=mixed), 100, 16, network)
        for mixed in (False, True)
    )
    # Inputs and the hidden layer at half the size, and two outputs, which the square has whole.
    assert single == 4 * (512 + 512 + 2)
    assert 2 * (512 + 512) <= half <= 2 * (512 + 512 + 512) + 16


def test_rows_far_from_each_other_are_measured() -> None:
    pieces = []

    def loss(piece: slice) -> Tensor:
        pieces.append(torch.arange(1000)[piece].tolist())
        return torch.zeros(())

    bytes_per_row(loss, available=1000, probe=4, module=nn.Identity())
    assert sorted(pieces, key=len) == [[0, 125, 250, 375], list(range(0, 1000, 125))]


def sized(monkeypatch: pytest.MonkeyPatch, fixed: int | None = None) -> tuple[PieceSizes, Callable]:
    network = nn.Linear(8, 4)
    monkeypatch.setattr(piece_sizes, "free_bytes", lambda device: 48 * 100)
    return PieceSizes(network, CPU, fixed), loss_of(network, torch.randn(100, 8))


def test_the_size_is_settled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, loss = sized(monkeypatch)
    assert sizes.rows("actor", loss, 100) == 100
    monkeypatch.setattr(piece_sizes, "free_bytes", lambda device: 48 * 10)
    assert sizes.rows("actor", loss, 100) == 100
    assert sizes.rows("critic", loss, 100) == 10


@pytest.mark.parametrize("few", [2, 10, 31])
def test_a_minibatch_smaller_than_the_probe_settles_nothing(
    few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, loss = sized(monkeypatch)
    assert sizes.rows("actor", loss, few) == 100
    monkeypatch.setattr(piece_sizes, "free_bytes", lambda device: 48 * 10)
    assert sizes.rows("actor", loss, few) == 10
    assert sizes.rows("actor", loss, 32) == 10


@pytest.mark.parametrize("available", [0, 1])
def test_one_row_needs_no_measure(available: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, _ = sized(monkeypatch)
    assert sizes.rows("actor", not_measured, available) >= 1


def test_a_configured_size_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, _ = sized(monkeypatch, fixed=7)
    assert sizes.rows("actor", not_measured, 100) == 7


def not_measured(piece: slice) -> Tensor:
    raise AssertionError("measured")


def test_what_torch_has_reserved_and_does_not_use_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 800)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 300)
    assert free_bytes(torch.device("cuda")) == (100 + 800 - 300) // 4
