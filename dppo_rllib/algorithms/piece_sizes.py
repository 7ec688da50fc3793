"""How many rows of a minibatch are passed at once: as many as there is memory for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_PROBE_ROWS = 16
_CPU_BYTES = 256 * 2**20  # more does not make it faster
# On a CPU activations of more rows fall out of the cache.
_LARGEST = {"cpu": 2500}
_LARGEST_ELSEWHERE = 65536


class PieceSizes:
    """Largest pieces of a minibatch, by the name of the loss.

    A size is settled by the first minibatch that can be measured and stays: pieces of other sizes
    would round otherwise, and memory in other blocks is fragmented.

    Args:
        module: Whose weights and activations they are.
        device: Where these are.
        fixed: The size of all; None measures.
    """

    def __init__(self, module: nn.Module, device: torch.device, fixed: int | None):
        self._module, self._device, self._fixed = module, device, fixed
        self._settled: dict[str, int] = {}

    def rows(self, name: str, loss_of: Callable[[slice], Tensor], available: int) -> int:
        """Rows of a piece at most.

        Args:
            name: Of the loss.
            loss_of: The loss over some rows; called if its size is not settled.
            available: Rows of the minibatch.
        """
        if self._fixed is not None:
            return self._fixed
        if name in self._settled:
            return self._settled[name]
        largest = _LARGEST.get(self._device.type, _LARGEST_ELSEWHERE)
        probe = min(_PROBE_ROWS, available // 2)
        if probe == 0:
            return largest
        needed = bytes_per_row(loss_of, available, probe, self._module)
        size = max(1, min(largest, free_bytes(self._device) // needed))
        if probe == _PROBE_ROWS:
            self._settled[name] = size
        return size


def free_bytes(device: torch.device) -> int:
    """Memory that the activations of one piece may take: on a GPU a quarter of what is free."""
    if device.type != "cuda":
        return _CPU_BYTES
    # What torch has reserved and not handed out is free too.
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return (torch.cuda.mem_get_info(device)[0] + unused) // 4


def bytes_per_row(
    loss_of: Callable[[slice], Tensor], available: int, probe: int, module: nn.Module
) -> int:
    """Memory that a row of a loss holds on to for its gradient.

    It is what twice as many rows take in addition: what does not depend on their number, such as
    the copies that autocast makes of weights, does not count.

    Args:
        loss_of: The loss over some rows.
        available: How many there are, at least `2 * probe`.
        probe: Rows of the smaller measurement.
        module: Whose weights are not counted.
    """
    # Far from each other, so that hardly any two share an observation that is encoded once.
    stride = available // (2 * probe)

    def held(rows: int) -> int:
        return activation_bytes(lambda: loss_of(slice(0, rows * stride, stride)), module)

    return max(1, (held(2 * probe) - held(probe)) // probe)


def activation_bytes(loss_of: Callable[[], Tensor], module: nn.Module) -> int:
    """Memory that the graph of a loss holds on to for its gradient, but for `module`'s weights."""
    weights = {p.untyped_storage().data_ptr() for p in module.parameters()}
    storages: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved):
        loss_of()
    return sum(storages.values())
