"""Reading architectures off the names and shapes of weights: what all networks have in common."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from dppo_rllib.checkpoints.official_file import StateDict, official_key


@dataclass(frozen=True)
class Weights:
    """The weights of one network, and what to call them in messages.

    Attributes:
        state: Weights by our names.
        part: Which network of the file it is, e.g. "network".
        path: The file.
    """

    state: StateDict
    part: str
    path: Path

    def name(self, key: str) -> str:
        """What the file calls a weight."""
        numbered = self.has("encoder.compress.1.")
        return f"{self.part}.{official_key(key, numbered=numbered)}"

    def has(self, prefix: str) -> bool:
        """Some key starts with `prefix`."""
        return any(key.startswith(prefix) for key in self.state)

    def count(self, prefix: str) -> int:
        """Members of the list called `prefix`: one more than the highest number after it."""
        pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
        return max((int(m[1]) + 1 for key in self.state if (m := pattern.match(key))), default=0)

    def tensor(self, key: str) -> Tensor:
        """One weight.

        Raises:
            ValueError: It is missing.
        """
        if key not in self.state:
            raise ValueError(f"{self.path}: missing key {self.name(key)}")
        return self.state[key]

    def shape(self, key: str, axes: int = 2) -> tuple[int, ...]:
        """Shape of one weight.

        Raises:
            ValueError: It is missing, has another number of axes, or is empty.
        """
        shape = tuple(self.tensor(key).shape)
        if len(shape) != axes or 0 in shape:
            expected = {1: "a vector", 2: "a matrix"}.get(axes, f"{axes} axes")
            raise ValueError(
                f"{self.path}: {self.name(key)} has shape {shape}, expected {expected}"
            )
        return shape


class NetworkShape(NamedTuple):
    """What weights tell of an actor.

    Attributes:
        architecture: Which network it is, a key of `official_families.ARCHITECTURES`.
        told: Fields of its configuration that follow from its weights.
        untold: Fields that the network computes with, and that leave no trace in weights.
        cond_dim: `To * Do`.
        chunk_dim: `Tp * Da`, where only the product is told.
        horizon_steps: `Tp`, where told.
        action_dim: `Da`, where told.
        defaults: Fields of no influence on a network whose weights are known.
    """

    architecture: str
    told: dict[str, Any]
    untold: tuple[str, ...]
    cond_dim: int
    chunk_dim: int | None = None
    horizon_steps: int | None = None
    action_dim: int | None = None
    defaults: dict[str, Any] = {}


class MLPShape(NamedTuple):
    """An MLP: widths `[in, hidden…, out]`, and its style as fields of configurations."""

    dims: list[int]
    style: dict[str, bool]


class StateFeatures(NamedTuple):
    """How states become features in front of a network.

    Attributes:
        cond_dim: `To * Do`.
        cond_mlp_dims: Widths of the MLP in front of them, None without one.
    """

    cond_dim: int
    cond_mlp_dims: tuple[int, ...] | None


def read_mlp(weights: Weights, name: str) -> MLPShape:
    """The MLP called `name`, plain or residual.

    Raises:
        ValueError: A key that tells it is missing, or a weight is no matrix.
    """
    residual = weights.has(f"{name}.layers.")
    kind, suffix = ("layers", "weight") if residual else ("moduleList", "linear_1.weight")
    layer = re.compile(rf"{re.escape(name)}\.{kind}\.(\d+)\.(\w+)")
    found = [
        (int(match[1]), match[2])
        for key, value in weights.state.items()
        if (match := layer.match(key)) and not _is_final_norm(weights, key, value)
    ]
    last = max((i for i, _ in found), default=0)
    if residual and (last == 0 or (last, "l1") in found):
        last += 1  # the layer after the blocks is missing; ask for it
    indices = (0, last) if residual else range(last + 1)
    shapes = [weights.shape(f"{name}.{kind}.{i}.{suffix}") for i in indices]
    hidden = [shapes[0][0]] * (2 * last - 1) if residual else [shape[0] for shape in shapes[:-1]]
    norm = "norm1" if residual else "norm_1"
    style = {"residual": residual, "use_layernorm": any(part == norm for _, part in found)}
    return MLPShape([shapes[0][1], *hidden, shapes[-1][0]], style)


def _is_final_norm(weights: Weights, key: str, value: Tensor) -> bool:
    """It belongs to a LayerNorm that stands in line with the layers of a residual MLP."""
    weight = weights.state.get(key.rpartition(".")[0] + ".weight", value)
    return re.search(r"\.layers\.\d+\.(weight|bias)$", key) is not None and weight.ndim == 1


def read_state_features(weights: Weights, width: int, visual_dim: int) -> StateFeatures:
    """What a network sees of states.

    Args:
        weights: Of the network.
        width: Features it takes.
        visual_dim: How many of them come from pictures.

    Raises:
        ValueError: No feature is left for the state.
    """
    cond_dim, cond_mlp_dims = width - visual_dim, None
    if weights.has("encoder.cond_mlp."):
        (cond_dim, *layers), _ = read_mlp(weights, "encoder.cond_mlp")
        cond_mlp_dims = tuple(layers)
    if cond_dim < 1:
        raise ValueError(
            f"{weights.path}: {weights.part} takes {width} features of observations, expected more "
            f"than the {visual_dim} of pictures"
        )
    return StateFeatures(cond_dim, cond_mlp_dims)


def check_state(weights: Weights, network: nn.Module) -> None:
    """Raises ValueError unless the weights are exactly what `network` loads."""
    expected, state = network.state_dict(), weights.state
    missing, unknown = expected.keys() - state.keys(), state.keys() - expected.keys()
    for problem, keys in (("missing", missing), ("unknown", unknown)):
        if keys:
            names = sorted(weights.name(key) for key in keys)
            raise ValueError(f"{weights.path}: {problem} keys {names}")
    for key, value in expected.items():
        given = state[key]
        if given.shape != value.shape or given.dtype != value.dtype:
            raise ValueError(
                f"{weights.path}: {weights.name(key)} is {tuple(given.shape)} {given.dtype}, "
                f"expected {tuple(value.shape)} {value.dtype}"
            )
