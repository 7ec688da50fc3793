"""What learners tell each other. With one learner nothing is sent."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of learners that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Number of this learner among them."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(value: Any) -> list[Any]:
    """The value of every learner, in rank order, on every learner. For small host data."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def all_reduce_sum(tensors: list[Tensor]) -> None:
    """Replaces each tensor by its sum over the learners, in one message."""
    if world_size() == 1 or not tensors:
        return
    flat = torch.cat([t.flatten() for t in tensors])
    dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view_as(tensor))


def broadcast(tensors: list[Tensor]) -> None:
    """Overwrites each tensor with the first learner's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)
