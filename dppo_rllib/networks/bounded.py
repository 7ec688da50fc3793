"""A bound that what is learned can come back from."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


class Bounded(torch.autograd.Function):
    """Clamp whose gradient still passes, out of bounds, where descent leads back inside.

    With that of `torch.clamp`, a parameter that has left its range stays there forever.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, low: Any, high: Any) -> Tensor:
        """Clamps `x` to `[low, high]`, numbers or tensors without dimensions."""
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, *grads: Float[Tensor, "..."]) -> tuple[Tensor, None, None]:
        """Gradients but for those whose descent would lead further out."""
        (x,), (low, high), (grad,) = ctx.saved_tensors, ctx.bounds, grads
        outwards = ((x > high) & (grad < 0)) | ((x < low) & (grad > 0))
        return grad.masked_fill(outwards, 0.0), None, None
