"""Multi-layer perceptrons: the plain and the residual one, and the denoiser made of them.

Attribute names (`mlp_mean`, `moduleList`, `linear_1` …) are those of the DPPO authors, so that
their state dicts load without renaming.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dppo_rllib.networks.observation import ObservationEncoder, ObservationSpec

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "ReLU": nn.ReLU,
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "Tanh": nn.Tanh,
    "Mish": nn.Mish,
    "Softplus": nn.Softplus,
}


def activation(name: str) -> nn.Module:
    """The activation called `name`.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation={name!r}: expected one of {sorted(ACTIVATIONS)}")
    return ACTIVATIONS[name]()


class MLP(nn.Module):
    """Linear layers with an activation (and LayerNorm before it) between, none at the end."""

    def __init__(self, dims: Sequence[int], activation_type: str, use_layernorm: bool = False):
        super().__init__()
        last = len(dims) - 2
        self.moduleList = nn.ModuleList()
        for i in range(last + 1):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            layers["linear_1"] = nn.Linear(dims[i], dims[i + 1])
            if i < last:
                if use_layernorm:
                    layers["norm_1"] = nn.LayerNorm(dims[i + 1])
                layers["act_1"] = activation(activation_type)
            self.moduleList.append(nn.Sequential(layers))

    def forward(self, x: Float[Tensor, "B in"]) -> Float[Tensor, "B out"]:
        """Applies the layers in turn."""
        for layer in self.moduleList:
            x = layer(x)
        return x


class ResidualBlock(nn.Module):
    """Pre-activation block of two layers: `x + l2(act(norm2(l1(act(norm1(x))))))`."""

    def __init__(self, dim: int, activation_type: str, use_layernorm: bool):
        super().__init__()
        self.l1 = nn.Linear(dim, dim)
        self.l2 = nn.Linear(dim, dim)
        self.act = activation(activation_type)
        if use_layernorm:
            self.norm1 = nn.LayerNorm(dim, eps=1e-6)
            self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.use_layernorm = use_layernorm

    def forward(self, x: Float[Tensor, "B dim"]) -> Float[Tensor, "B dim"]:
        """Adds the block's output to its input."""
        hidden = self.l1(self.act(self.norm1(x) if self.use_layernorm else x))
        return x + self.l2(self.act(self.norm2(hidden) if self.use_layernorm else hidden))


class ResidualMLP(nn.Module):
    """Linear layer, residual blocks of two layers each, linear layer.

    Args:
        dims: `[in, hidden, …, hidden, out]`; the hidden widths are equal and odd in number.
        activation_type: Activation inside the blocks.
        use_layernorm: LayerNorm before each activation.
    """

    def __init__(self, dims: Sequence[int], activation_type: str, use_layernorm: bool = False):
        super().__init__()
        hidden = dims[1:-1]
        if len(set(hidden)) != 1 or len(hidden) % 2 == 0:
            raise ValueError(
                f"mlp_dims={list(hidden)}: a residual MLP needs an odd number of equal widths"
            )
        blocks = (len(hidden) - 1) // 2
        self.layers = nn.ModuleList([nn.Linear(dims[0], hidden[0])])
        self.layers.extend(
            ResidualBlock(hidden[0], activation_type, use_layernorm) for _ in range(blocks)
        )
        self.layers.append(nn.Linear(hidden[0], dims[-1]))

    def forward(self, x: Float[Tensor, "B in"]) -> Float[Tensor, "B out"]:
        """Applies the layers in turn."""
        for layer in self.layers:
            x = layer(x)
        return x


def build_mlp(
    dims: Sequence[int], activation_type: str, *, residual: bool, use_layernorm: bool
) -> nn.Module:
    """A residual or a plain MLP over `dims = [in, hidden…, out]`."""
    return (ResidualMLP if residual else MLP)(dims, activation_type, use_layernorm)


class SinusoidalEmbedding(nn.Module):
    """Sines and cosines of a step number at geometrically spaced frequencies."""

    def __init__(self, dim: int):
        super().__init__()
        if dim < 4 or dim % 2:
            raise ValueError(f"time_dim={dim}: expected an even number of at least 4")
        self.dim = dim

    def forward(self, timesteps: Int[Tensor, " S"]) -> Float[Tensor, "S dim"]:
        """Embeds integers as rows of `dim` numbers."""
        half = self.dim // 2
        scale = -math.log(10000) / (half - 1)
        frequencies = torch.exp(torch.arange(half, device=timesteps.device) * scale)
        angles = timesteps[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


@dataclass(frozen=True)
class DiffusionMLPConfig:
    """Architecture of `DiffusionMLP`; the defaults are the authors' for Gym.

    Attributes:
        mlp_dims: Hidden widths.
        time_dim: Width of the time embedding.
        activation: Name of the activation.
        residual: Residual blocks (an odd number of equal widths) or a plain MLP.
        use_layernorm: LayerNorm before activations.
        cond_mlp_dims: Layers in front of the observation, the last one without an activation;
            None feeds it as it is.
    """

    mlp_dims: tuple[int, ...] = (512, 512, 512)
    time_dim: int = 16
    activation: str = "ReLU"
    residual: bool = True
    use_layernorm: bool = False
    cond_mlp_dims: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("mlp_dims", "cond_mlp_dims"):
            widths = getattr(self, name)
            if widths is not None and (not widths or min(widths) < 1):
                raise ValueError(f"{name}={list(widths)}: expected positive widths, at least one")


class DiffusionMLP(nn.Module):
    """MLP denoiser on `[flattened chunk, time embedding, flattened observation history]`.

    Implements `dppo_rllib.denoising.Denoiser`.

    Args:
        config: Widths and activation.
        spec: Shape of the observations.
        horizon_steps: `Tp`.
        action_dim: `Da`.
    """

    def __init__(
        self,
        config: DiffusionMLPConfig,
        spec: ObservationSpec,
        *,
        horizon_steps: int,
        action_dim: int,
    ):
        super().__init__()
        self.time_embedding = nn.Sequential(
            SinusoidalEmbedding(config.time_dim),
            nn.Linear(config.time_dim, config.time_dim * 2),
            nn.Mish(),
            nn.Linear(config.time_dim * 2, config.time_dim),
        )
        cond_mlp = None
        if config.cond_mlp_dims is not None:
            cond_mlp = MLP([spec.cond_dim, *config.cond_mlp_dims], config.activation)
        self.encoder = ObservationEncoder(spec, cond_mlp, (config.cond_mlp_dims or (0,))[-1])
        chunk_dim = horizon_steps * action_dim
        self.mlp_mean = build_mlp(
            [chunk_dim + config.time_dim + self.encoder.feature_dim, *config.mlp_dims, chunk_dim],
            config.activation,
            residual=config.residual,
            use_layernorm=config.use_layernorm,
        )

    def embed_time(self, timesteps: Int[Tensor, " S"]) -> Float[Tensor, "S E"]:
        """Embedding of forward steps `t`."""
        return self.time_embedding(timesteps)

    def encode(self, obs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Features of observation histories; they do not change while a chunk is denoised."""
        return self.encoder(obs)

    def forward(
        self,
        x: Float[Tensor, "B Tp Da"],
        time_embedding: Float[Tensor, "#B E"],
        features: Float[Tensor, "B F"],
    ) -> Float[Tensor, "B Tp Da"]:
        """Predicted noise (or clean chunk) of `x`."""
        time = time_embedding.expand(len(x), -1)
        return self.mlp_mean(torch.cat([x.flatten(1), time, features], dim=-1)).view(x.shape)
