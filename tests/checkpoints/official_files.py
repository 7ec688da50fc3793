"""Checkpoints in the authors' format, made of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dppo_rllib.checkpoints.official_file import official_key
from dppo_rllib.environments import Normalization

StateDict = dict[str, Tensor]


def official_state(network: nn.Module) -> StateDict:
    """Weights of one of our networks under the names that the authors have."""
    state = network.state_dict()
    numbered = any(key.startswith("encoder.compress.1.") for key in state)
    return {official_key(key, numbered=numbered): value for key, value in state.items()}


def write_pretrained(directory: Path, state: StateDict) -> Path:
    """What pre-training leaves, with one set of weights."""
    model = {f"network.{key}": value for key, value in state.items()}
    return _write(directory, {"epoch": 8000, "model": model, "ema": model})


def write_fine_tuned(directory: Path, **parts: StateDict) -> Path:
    """What fine-tuning leaves: `network`, `actor`, `actor_ft`, `critic`, `eta`."""
    model = {f"{part}.{key}": value for part, s in parts.items() for key, value in s.items()}
    return _write(directory, {"itr": 100, "model": model})


def normalization(obs_dim: int, action_dim: int) -> Normalization:
    """One of observations and actions of that width."""
    return Normalization(
        *(np.full(d, v, np.float32) for d in (obs_dim, action_dim) for v in (-1, 1))
    )


def _write(directory: Path, content: dict[str, Any]) -> Path:
    path = directory / "state_1.pt"
    torch.save(content, path)
    return path
