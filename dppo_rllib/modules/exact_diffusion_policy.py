"""A diffusion policy whose chunks are scored by their likelihood, not step by step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dppo_rllib.denoising import Chain
from dppo_rllib.denoising.exact_likelihood import (
    ExactLikelihoodConfig,
    FrozenBase,
    exact_log_likelihood,
)
from dppo_rllib.denoising.process import LOG_PROB_MAX, LOG_PROB_MIN
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.modules.diffusion_policy import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.modules.policy import Encoded

_MAX_PROBES = 24  # bits of a float32's significand, see `pack_signs`


@dataclass(frozen=True)
class ExactDiffusionPolicyConfig(DiffusionPolicyConfig):
    """What defines an `ExactDiffusionPolicy`.

    Attributes:
        likelihood: How the likelihood is computed, along at most 24 directions.
    """

    kind: ClassVar[str] = "exact_diffusion"

    likelihood: ExactLikelihoodConfig = field(default_factory=ExactLikelihoodConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.likelihood.num_probes > _MAX_PROBES:
            raise ValueError(
                f"num_probes={self.likelihood.num_probes}: expected at most {_MAX_PROBES}, which "
                "is what a chain has place for"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Any:
        """Inverse of `to_dict`.

        Raises:
            ValueError: A key is unknown or missing.
        """
        likelihood = build_dataclass(ExactLikelihoodConfig, values.get("likelihood", {}))
        return super().from_dict(values | {"likelihood": likelihood})


class ExactDiffusionPolicy(DiffusionPolicy):
    """Acts as a `DiffusionPolicy`; its chain is one step, to the chunk.

    The likelihood of a chunk is estimated along random directions, and two estimates can be
    compared only along the same ones. They travel in the place that a chain has for what came
    before the chunk.
    """

    config: ExactDiffusionPolicyConfig
    scheduled = ("min_sampling_denoising_std",)

    @property
    def chain_steps(self) -> int:
        """One: the chunk as a whole."""
        return 1

    def draw_noise(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "S_1_E B Tp Da"]:
        """All the randomness of one chunk per row; the signs of the last rows are directions."""
        config = self.config
        rows = self.process.config.sampler_steps + 1 + config.likelihood.num_probes
        device = self.process.alphas_cumprod.device
        source = device if generator is None else generator.device
        size = (rows, batch_size, config.horizon_steps, config.action_dim)
        return torch.randn(size, device=source, generator=generator).to(device)

    @torch.no_grad()
    def sample(
        self,
        obs: dict[str, Tensor],
        *,
        deterministic: bool = False,
        noise: Float[Tensor, "S_1_E B Tp Da"] | None = None,
        score: bool = True,
    ) -> Chain:
        """Denoises one chunk per observation history, and solves the ODE to score it.

        Args:
            obs: As for `DiffusionPolicy.sample`.
            deterministic: Act greedily.
            noise: As from `draw_noise`; drawn here if None.
            score: Compute log-probabilities, or leave them NaN.
        """
        if noise is None:
            noise = self.draw_noise(len(obs["state"]))
        draws = self.process.config.sampler_steps + 1
        chunk = super().sample(obs, deterministic=deterministic, noise=noise[:draws]).chunk
        directions = pack_signs(noise[draws:])
        log_prob = (
            self.log_prob(self.encode(obs), directions, chunk, _none(chunk))
            if score
            else chunk.new_full((len(chunk),), torch.nan)
        )
        return Chain(torch.stack([directions, chunk], dim=1), log_prob[:, None])

    @torch.no_grad()
    def base_chains(
        self, obs: dict[str, Tensor], rows: Int[Tensor, " B"], noise: Float[Tensor, "S_1_E B Tp Da"]
    ) -> Float[Tensor, "B 2 Tp Da"]:
        """As for `DiffusionPolicy`: directions, and the chunks that the base network explores."""
        draws = self.process.config.sampler_steps + 1
        chunk = super().base_chains(obs, rows, noise[:draws])[:, -1]
        return torch.stack([pack_signs(noise[draws:]), chunk], dim=1)

    def encode(self, obs: dict[str, Tensor]) -> Encoded:
        """Features for the fine-tuned network, and for the base where that takes steps."""
        encoded = super().encode(obs)
        if self._has_base:
            with torch.no_grad():
                encoded["base_features"] = self.actor.encode(obs)
        return encoded

    def log_prob(
        self,
        encoded: Encoded,
        chain_prev: Float[Tensor, "B Tp Da"],
        chain_next: Float[Tensor, "B Tp Da"],
        ft_index: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Log-likelihood of chunks per number in them, clamped to [-5, 2] (differentiable).

        Args:
            encoded: From `encode`, one row per chunk.
            chain_prev: The directions, see `pack_signs`.
            chain_next: Chunks.
            ft_index: Zeros; unused.
        """
        config = self.config
        base = None
        if self._has_base:
            base = FrozenBase(self.actor, encoded["base_features"], config.ft_denoising_steps)
        log_density = exact_log_likelihood(
            self.process,
            self.acting,
            encoded["features"],
            chain_next,
            unpack_signs(chain_prev, config.likelihood.num_probes),
            config.likelihood,
            base=base,
        )
        return log_density.clamp(LOG_PROB_MIN, LOG_PROB_MAX)

    @property
    def _has_base(self) -> bool:
        return 0 < self.config.ft_denoising_steps < self.process.config.sampler_steps


def pack_signs(numbers: Float[Tensor, "E *shape"]) -> Float[Tensor, "*shape"]:
    """Signs along the first axis as the bits of whole numbers (exact for up to 24 of them)."""
    powers = 2.0 ** torch.arange(len(numbers), device=numbers.device)
    return torch.tensordot(powers, (numbers >= 0).to(powers.dtype), dims=1)


def unpack_signs(packed: Float[Tensor, "*shape"], count: int) -> Float[Tensor, "E *shape"]:
    """Inverse of `pack_signs`: -1 or 1."""
    bits = [(packed.long() >> e) & 1 for e in range(count)]
    return 2.0 * torch.stack(bits).to(packed.dtype) - 1.0


def _none(chunk: Tensor) -> Tensor:
    return torch.zeros(len(chunk), dtype=torch.long, device=chunk.device)
