"""Gaussian and mixture heads on a transformer: a token per action, the observation as memory.

Attribute names (`cond_obs_emb`, `ln_f` …) are those of the DPPO authors, so that their state dicts
load without renaming.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dppo_rllib.networks.gaussian import StdConfig, StdHead
from dppo_rllib.networks.gmm import check_modes
from dppo_rllib.networks.observation import ObservationSpec

_ACTIVATIONS = ("gelu", "relu")  # what torch's own layers know by name


@dataclass(frozen=True)
class TransformerConfig(StdConfig):
    """Size of `ChunkTransformer`; the defaults are the authors' for Robomimic.

    Attributes:
        fixed_std: Standard deviation of every action, constant or where learning starts; None
            makes it depend on the state.
        learn_fixed_std: Learn one standard deviation per action dimension (and mode).
        std_min: Lower bound of a standard deviation that is learned.
        std_max: Upper bound of a standard deviation that is learned.
        embed_dim: Width of a token, a multiple of `num_heads`.
        num_heads: Attention heads.
        num_layers: Layers of the decoder.
        activation: "gelu" or "relu".
    """

    embed_dim: int = 96
    num_heads: int = 4
    num_layers: int = 4
    activation: str = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("embed_dim", "num_heads", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim={self.embed_dim}: expected a multiple of num_heads={self.num_heads}"
            )
        if self.activation not in _ACTIVATIONS:
            raise ValueError(f"activation={self.activation!r}: expected one of {_ACTIVATIONS}")


class ChunkTransformer(nn.Module):
    """Decodes learned tokens, one per action of a chunk, that attend to one observation token.

    There is no mask: an action attends to all actions of its chunk.

    Args:
        config: Its size.
        feature_dim: `F`.
        horizon_steps: `Tp`.
        out_dim: `O`, numbers per action.
    """

    def __init__(
        self, config: TransformerConfig, feature_dim: int, *, horizon_steps: int, out_dim: int
    ):
        super().__init__()
        width = config.embed_dim
        self.cond_obs_emb = nn.Linear(feature_dim, width)
        self.cond_pos_emb = nn.Parameter(torch.empty(1, 1, width))
        self.encoder = nn.Sequential(
            nn.Linear(width, 4 * width), nn.Mish(), nn.Linear(4 * width, width)
        )
        self.pos_emb = nn.Parameter(torch.empty(1, horizon_steps, width))
        layer = nn.TransformerDecoderLayer(
            width,
            config.num_heads,
            dim_feedforward=4 * width,
            dropout=0.0,
            activation=config.activation,
            batch_first=True,
            norm_first=True,
        )
        self.decoder = nn.TransformerDecoder(layer, config.num_layers)
        self.ln_f = nn.LayerNorm(width)
        self.head = nn.Linear(width, out_dim)
        self.apply(_initialize)
        for embedding in (self.cond_pos_emb, self.pos_emb):
            nn.init.normal_(embedding, std=_INIT_STD)

    def forward(
        self, features: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B Tp O"], Float[Tensor, "B Tp E"]]:
        """Outputs of the actions, and the tokens that they were read from."""
        memory = self.encoder(self.cond_obs_emb(features)[:, None] + self.cond_pos_emb)
        tokens = self.ln_f(self.decoder(self.pos_emb.expand(len(features), -1, -1), memory))
        return self.head(tokens), tokens


_INIT_STD = 0.02


def _initialize(module: nn.Module) -> None:
    """The authors' start: small normal weights, no biases."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=_INIT_STD)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.MultiheadAttention):
        nn.init.normal_(module.in_proj_weight, std=_INIT_STD)
        nn.init.zeros_(module.in_proj_bias)


@dataclass(frozen=True)
class GaussianTransformerConfig(TransformerConfig):
    """Architecture of `GaussianTransformer`, see `TransformerConfig`."""


class GaussianTransformer(StdHead):
    """Gaussian head on a `ChunkTransformer`.

    Args:
        config: Its size and standard deviation.
        spec: Shape of the observations.
        horizon_steps: `Tp`.
        action_dim: `Da`.
    """

    def __init__(
        self,
        config: GaussianTransformerConfig,
        spec: ObservationSpec,
        *,
        horizon_steps: int,
        action_dim: int,
    ):
        super().__init__(config, spec, horizon_steps=horizon_steps, action_dim=action_dim)
        self.transformer = ChunkTransformer(
            config,
            self.encoder.feature_dim,
            horizon_steps=horizon_steps,
            out_dim=action_dim * (2 if config.fixed_std is None else 1),
        )

    def forward(
        self, features: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B Tp Da"], Float[Tensor, "B Tp Da"]]:
        """Mean and standard deviation of every action of a chunk."""
        out, _ = self.transformer(features)
        mean = torch.tanh(out[..., : self.action_dim])
        logvar = out[..., self.action_dim :] if self.state_dependent_std else None
        return mean, self.std(mean, logvar)


@dataclass(frozen=True)
class GMMTransformerConfig(TransformerConfig):
    """Architecture of `GMMTransformer`, see `TransformerConfig`.

    Attributes:
        num_modes: `M`.
    """

    num_modes: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_modes(self.num_modes)


class GMMTransformer(StdHead):
    """Mixture head on a `ChunkTransformer`; the weights of the modes see all its tokens.

    Args:
        config: Its size, modes and standard deviation.
        spec: Shape of the observations.
        horizon_steps: `Tp`.
        action_dim: `Da`.
    """

    def __init__(
        self,
        config: GMMTransformerConfig,
        spec: ObservationSpec,
        *,
        horizon_steps: int,
        action_dim: int,
    ):
        super().__init__(
            config,
            spec,
            horizon_steps=horizon_steps,
            action_dim=action_dim,
            num_modes=config.num_modes,
        )
        self.num_modes, self.modes_dim = config.num_modes, config.num_modes * action_dim
        self.transformer = ChunkTransformer(
            config,
            self.encoder.feature_dim,
            horizon_steps=horizon_steps,
            out_dim=self.modes_dim * (2 if config.fixed_std is None else 1),
        )
        self.modes_head = nn.Linear(horizon_steps * config.embed_dim, config.num_modes)

    def forward(
        self, features: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B M Tp Da"], Float[Tensor, "B M Tp Da"], Float[Tensor, "B M"]]:
        """Means and standard deviations of the modes, and the logits of their weights."""
        out, tokens = self.transformer(features)
        means = torch.tanh(self._modes(out[..., : self.modes_dim]))
        logvars = self._modes(out[..., self.modes_dim :]) if self.state_dependent_std else None
        return means, self.std(means, logvars), self.modes_head(tokens.flatten(1))

    def _modes(self, out: Float[Tensor, "B Tp MDa"]) -> Float[Tensor, "B M Tp Da"]:
        return out.unflatten(-1, (self.num_modes, self.action_dim)).transpose(1, 2)
