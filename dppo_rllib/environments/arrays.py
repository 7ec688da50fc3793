"""Arrays of NumPy, and tensors of environments that live on a device: what is done with both."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

Array = np.ndarray | Tensor
Values = TypeVar("Values", np.ndarray, Tensor)


def placed(values: Array, device: torch.device | None) -> Any:
    """A tensor on `device`, or an array of NumPy if there is none; shares memory where it can."""
    if device is not None:
        return torch.as_tensor(values, device=device)
    return values.cpu().numpy() if isinstance(values, Tensor) else values


def beside(constant: np.ndarray, values: Array) -> Any:
    """A constant as what it is computed with: an array, or a tensor on the same device."""
    if isinstance(values, Tensor):
        return torch.as_tensor(constant, device=values.device)
    return constant


def single_precision(values: Array) -> Any:
    """In float32, itself if it is."""
    return values.float() if isinstance(values, Tensor) else values.astype(np.float32, copy=False)


def finite_rows(values: Array) -> Bool[np.ndarray, " N"]:
    """Which rows hold finite numbers only."""
    if isinstance(values, Tensor):
        return torch.isfinite(values).flatten(1).all(dim=1).cpu().numpy()
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))
