"""The 1-D U-Net denoiser: convolutions along a chunk, conditioned on time and observation.

From Diffusion Policy (arXiv 2303.04137), in the form of the DPPO authors. Attribute names are
theirs, so that their state dicts load without renaming.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dppo_rllib.networks.mlp import ResidualMLP, SinusoidalEmbedding, activation
from dppo_rllib.networks.observation import ObservationEncoder, ObservationSpec


@dataclass(frozen=True)
class UNet1DConfig:
    """Architecture of `UNet1D`; the defaults are the authors' for Square and Transport.

    Attributes:
        diffusion_step_embed_dim: Width of the time embedding.
        dim: Channels that `dim_mults` multiplies.
        dim_mults: One factor per level; each level has half the steps of the one before.
        kernel_size: Of the convolutions, odd.
        n_groups: Groups of GroupNorm; None leaves it out.
        smaller_encoder: One layer per block in front of the condition, not three.
        cond_predict_scale: The condition scales channels and shifts them (FiLM), or only shifts.
        groupnorm_eps: Epsilon of GroupNorm.
        activation: Name of the activation.
        cond_mlp_dims: A residual MLP in front of the observation: an odd number of equal widths,
            then the output's; implies the smaller encoders. None feeds the observation as it is.

    Raises:
        ValueError: A value is out of its range, or groups do not divide channels.
    """

    diffusion_step_embed_dim: int = 16
    dim: int = 64
    dim_mults: tuple[int, ...] = (1, 2)
    kernel_size: int = 5
    n_groups: int | None = 8
    smaller_encoder: bool = False
    cond_predict_scale: bool = True
    groupnorm_eps: float = 1e-5
    activation: str = "Mish"
    cond_mlp_dims: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        time_dim = self.diffusion_step_embed_dim
        if time_dim < 4 or time_dim % 2:
            raise ValueError(
                f"diffusion_step_embed_dim={time_dim}: expected an even number of at least 4"
            )
        if self.dim < 1:
            raise ValueError(f"dim={self.dim}: expected at least 1")
        if not self.dim_mults or min(self.dim_mults) < 1:
            raise ValueError(
                f"dim_mults={list(self.dim_mults)}: expected positive factors, at least one"
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size}: expected an odd number")
        if self.n_groups is not None and (
            self.n_groups < 1 or any(channels % self.n_groups for channels in self.channels)
        ):
            raise ValueError(
                f"n_groups={self.n_groups}: expected a divisor of the channels "
                f"{list(self.channels)}, or None"
            )
        if self.groupnorm_eps <= 0:
            raise ValueError(f"groupnorm_eps={self.groupnorm_eps}: expected a positive number")
        activation(self.activation)
        if self.cond_mlp_dims is not None:
            *hidden, out = self.cond_mlp_dims or (0,)
            if min(*hidden, out, 1) < 1 or len(set(hidden)) != 1 or len(hidden) % 2 == 0:
                raise ValueError(
                    f"cond_mlp_dims={list(self.cond_mlp_dims)}: expected an odd number of equal "
                    f"positive widths, then the output's"
                )

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each level."""
        return tuple(self.dim * factor for factor in self.dim_mults)


class ConvBlock(nn.Module):
    """Convolution that keeps the number of steps, GroupNorm, activation."""

    def __init__(self, in_channels: int, out_channels: int, config: UNet1DConfig):
        super().__init__()
        kernel = config.kernel_size
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["0"] = nn.Conv1d(in_channels, out_channels, kernel, padding=kernel // 2)
        if config.n_groups is not None:
            layers["2"] = nn.GroupNorm(config.n_groups, out_channels, eps=config.groupnorm_eps)
        layers["4"] = activation(config.activation)
        self.block = nn.Sequential(layers)

    def forward(self, x: Float[Tensor, "B in T"]) -> Float[Tensor, "B out T"]:
        """Applies the layers in turn."""
        return self.block(x)


class ConditionedBlock(nn.Module):
    """Residual block of two convolutions, with the condition (FiLM, arXiv 1709.07871) between."""

    def __init__(self, in_channels: int, out_channels: int, cond_dim: int, config: UNet1DConfig):
        super().__init__()
        self.blocks = nn.ModuleList(
            [
                ConvBlock(in_channels, out_channels, config),
                ConvBlock(out_channels, out_channels, config),
            ]
        )
        self.predict_scale = config.cond_predict_scale
        width = out_channels * (2 if config.cond_predict_scale else 1)
        self.cond_encoder = (
            nn.Sequential(activation(config.activation), nn.Linear(cond_dim, width))
            if config.smaller_encoder or config.cond_mlp_dims is not None
            else nn.Sequential(
                nn.Linear(cond_dim, width),
                activation(config.activation),
                nn.Linear(width, width),
                activation(config.activation),
                nn.Linear(width, width),
            )
        )
        self.residual_conv = (
            nn.Identity()
            if in_channels == out_channels
            else nn.Conv1d(in_channels, out_channels, kernel_size=1)
        )

    def forward(
        self, x: Float[Tensor, "B in T"], condition: Float[Tensor, "B C"]
    ) -> Float[Tensor, "B out T"]:
        """Adds the block's output to its input."""
        hidden, modulation = self.blocks[0](x), self.cond_encoder(condition)[..., None]
        if self.predict_scale:
            scale, bias = modulation.chunk(2, dim=1)
            hidden = scale * hidden + bias
        else:
            hidden = hidden + modulation
        return self.blocks[1](hidden) + self.residual_conv(x)


class Downsample(nn.Module):
    """Halves the number of steps."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel_size=3, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B C T//2"]:
        """Every second step, seen with its neighbours."""
        return self.conv(x)


class Upsample(nn.Module):
    """Doubles the number of steps."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv = nn.ConvTranspose1d(channels, channels, kernel_size=4, stride=2, padding=1)

    def forward(self, x: Float[Tensor, "B C T"]) -> Float[Tensor, "B C 2*T"]:
        """Two steps from each and its neighbours."""
        return self.conv(x)


class UNet1D(nn.Module):
    """U-Net denoiser along the steps of a chunk.

    Levels go down to ever fewer steps and more channels, through two blocks in the middle, and up
    again; on the way up each level also gets what it gave on the way down. Every block is
    conditioned on `[time embedding, observation features]`.
    Implements `dppo_rllib.denoising.Denoiser`.

    Args:
        config: Channels and layers.
        spec: Shape of the observations.
        horizon_steps: `Tp`.
        action_dim: `Da`.

    Raises:
        ValueError: `horizon_steps` cannot be halved once per level but the last.
    """

    def __init__(
        self,
        config: UNet1DConfig,
        spec: ObservationSpec,
        *,
        horizon_steps: int,
        action_dim: int,
    ):
        super().__init__()
        levels = len(config.channels)
        if horizon_steps < 1 or horizon_steps % 2 ** (levels - 1):
            raise ValueError(
                f"horizon_steps={horizon_steps}: expected a multiple of {2 ** (levels - 1)}, since "
                f"dim_mults={list(config.dim_mults)} halves the chunk {levels - 1} times"
            )
        time_dim = config.diffusion_step_embed_dim
        self.time_mlp = nn.Sequential(
            SinusoidalEmbedding(time_dim),
            nn.Linear(time_dim, time_dim * 4),
            nn.Mish(),
            nn.Linear(time_dim * 4, time_dim),
        )
        cond_mlp = None
        if config.cond_mlp_dims is not None:
            cond_mlp = ResidualMLP([spec.cond_dim, *config.cond_mlp_dims], config.activation)
        self.encoder = ObservationEncoder(spec, cond_mlp, (config.cond_mlp_dims or (0,))[-1])
        self._build_levels(config, action_dim, time_dim + self.encoder.feature_dim)

    def _build_levels(self, config: UNet1DConfig, action_dim: int, cond_dim: int) -> None:
        channels = config.channels

        def block(in_channels: int, out_channels: int) -> ConditionedBlock:
            return ConditionedBlock(in_channels, out_channels, cond_dim, config)

        deepest = channels[-1]
        self.mid_modules = nn.ModuleList([block(deepest, deepest), block(deepest, deepest)])
        self.down_modules = nn.ModuleList(
            nn.ModuleList(
                [
                    block(above, below),
                    block(below, below),
                    Downsample(below) if level < len(channels) - 1 else nn.Identity(),
                ]
            )
            for level, (above, below) in enumerate(pairwise((action_dim, *channels)))
        )
        self.up_modules = nn.ModuleList(
            # Twice `below`: what comes from below, and what the level gave on the way down.
            nn.ModuleList([block(2 * below, above), block(above, above), Upsample(above)])
            for above, below in reversed(list(pairwise(channels)))
        )
        self.final_conv = nn.Sequential(
            ConvBlock(channels[0], channels[0], config),
            nn.Conv1d(channels[0], action_dim, kernel_size=1),
        )

    def embed_time(self, timesteps: Int[Tensor, " S"]) -> Float[Tensor, "S E"]:
        """Embedding of forward steps `t`."""
        return self.time_mlp(timesteps)

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
        condition = torch.cat([time_embedding.expand(len(x), -1), features], dim=-1)
        hidden, given = x.transpose(1, 2), []
        for level in self.down_modules:
            block1, block2, down = cast(nn.ModuleList, level)
            hidden = block2(block1(hidden, condition), condition)
            given.append(hidden)
            hidden = down(hidden)
        for block in self.mid_modules:
            hidden = block(hidden, condition)
        for level in self.up_modules:
            block1, block2, up = cast(nn.ModuleList, level)
            hidden = torch.cat([hidden, given.pop()], dim=1)
            hidden = up(block2(block1(hidden, condition), condition))
        return self.final_conv(hidden).transpose(1, 2)
