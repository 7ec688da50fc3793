"""Reading an MLP's architecture off the names and shapes of its weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from dppo_rllib.checkpoints.official_file import StateDict


class DenoiserShape(NamedTuple):
    """What the weights tell of a `DiffusionMLP`: all but its activation.

    Attributes:
        fields: Fields of `DiffusionMLPConfig`.
        cond_dim: `To * Do`.
        chunk_dim: `Tp * Da`.
    """

    fields: dict[str, Any]
    cond_dim: int
    chunk_dim: int


def infer_denoiser(state: StateDict, path: Path) -> DenoiserShape:
    """The architecture of the denoiser `network.*`.

    Raises:
        ValueError: A key that tells it is missing, or shapes do not fit each other.
    """
    time_dim = _shape(state, "time_embedding.1.weight", "network", path)[1]
    (width, *hidden, chunk_dim), style = _infer_mlp(state, "mlp_mean", "network", path)
    cond_dim, cond_mlp_dims = width - chunk_dim - time_dim, None
    if any(key.startswith("encoder.cond_mlp.") for key in state):
        (cond_dim, *layers), _ = _infer_mlp(state, "encoder.cond_mlp", "network", path)
        cond_mlp_dims = tuple(layers)
    if cond_dim < 1:
        raise ValueError(
            f"{path}: network.mlp_mean takes {width} numbers, expected more than its {chunk_dim} "
            f"outputs and the {time_dim} of the time embedding"
        )
    fields = {"mlp_dims": tuple(hidden), "time_dim": time_dim, "cond_mlp_dims": cond_mlp_dims}
    return DenoiserShape(fields | style, cond_dim, chunk_dim)


def infer_critic(state: StateDict, path: Path) -> dict[str, Any]:
    """Fields of `CriticConfig` but for the activation, of the critic `critic.*`.

    Raises:
        ValueError: A key that tells it is missing, or shapes do not fit each other.
    """
    (_, *hidden, _), style = _infer_mlp(state, "Q1", "critic", path)
    return {"mlp_dims": tuple(hidden), **style}


def check_state(state: StateDict, network: nn.Module, prefix: str, path: Path) -> None:
    """Raises ValueError unless `state` is exactly what `network` loads."""
    expected = network.state_dict()
    missing, unknown = expected.keys() - state.keys(), state.keys() - expected.keys()
    for problem, keys in (("missing", missing), ("unknown", unknown)):
        if keys:
            raise ValueError(f"{path}: {problem} keys {sorted(f'{prefix}.{k}' for k in keys)}")
    for key, value in expected.items():
        given = state[key]
        if given.shape != value.shape or given.dtype != value.dtype:
            raise ValueError(
                f"{path}: {prefix}.{key} is {tuple(given.shape)} {given.dtype}, expected "
                f"{tuple(value.shape)} {value.dtype}"
            )


def _infer_mlp(
    state: StateDict, name: str, prefix: str, path: Path
) -> tuple[list[int], dict[str, bool]]:
    """`[in, hidden…, out]` of the MLP called `name`, and its style."""
    residual = any(key.startswith(f"{name}.layers.") for key in state)
    kind, suffix = ("layers", "weight") if residual else ("moduleList", "linear_1.weight")
    layer = re.compile(rf"{name}\.{kind}\.(\d+)\.(\w+)")
    found = [(int(match[1]), match[2]) for key in state if (match := layer.match(key))]
    last = max((i for i, _ in found), default=0)
    if residual and (last == 0 or (last, "l1") in found):
        last += 1  # the layer after the blocks is missing; ask for it
    indices = (0, last) if residual else range(last + 1)
    shapes = [_shape(state, f"{name}.{kind}.{i}.{suffix}", prefix, path) for i in indices]
    hidden = [shapes[0][0]] * (2 * last - 1) if residual else [shape[0] for shape in shapes[:-1]]
    norm = "norm1" if residual else "norm_1"
    style = {"residual": residual, "use_layernorm": any(part == norm for _, part in found)}
    return [shapes[0][1], *hidden, shapes[-1][0]], style


def _shape(state: StateDict, key: str, prefix: str, path: Path) -> tuple[int, ...]:
    """Shape of a weight matrix."""
    if key not in state:
        raise ValueError(f"{path}: missing key {prefix}.{key}")
    shape = tuple(state[key].shape)
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"{path}: {prefix}.{key} has shape {shape}, expected a matrix")
    return shape
