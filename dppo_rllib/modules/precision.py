"""In which precision networks compute."""

from __future__ import annotations

import torch


def autocast(device: torch.device, mixed_precision: bool) -> torch.autocast:
    """A context in which networks compute in bfloat16, or as their weights are.

    Weights, chains and likelihoods stay in float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=mixed_precision)
