"""The policy whose chunks are drawn from a mixture of Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from dppo_rllib.modules.config_dicts import NetworkTypes
from dppo_rllib.modules.gaussian_policy import (
    DETERMINISTIC_STD,
    OneStepPolicy,
    OneStepPolicyConfig,
    normal_entropy,
    normal_log_density,
)
from dppo_rllib.networks.gmm import GMMMLP, GMMMLPConfig
from dppo_rllib.networks.transformer import GMMTransformer, GMMTransformerConfig


class MixtureChunk(NamedTuple):
    """A mode for the whole chunk, then independent normal distributions of its numbers."""

    means: Float[Tensor, "B M Tp Da"]
    stds: Float[Tensor, "B M Tp Da"]
    logits: Float[Tensor, "B M"]

    def draw(
        self, noise: Float[Tensor, "draws B"], *, clip: float, deterministic: bool
    ) -> Float[Tensor, "B Tp Da"]:
        """Chunks made of standard normal numbers, see `ChunkDistribution`.

        The first number of a row picks the mode, also when acting deterministically (as the
        authors do): its quantile among the cumulative weights.
        """
        quantile = torch.special.ndtr(noise[0])[:, None]
        below = self.logits.softmax(dim=-1).cumsum(dim=-1) < quantile
        mode = below.sum(dim=-1).clamp(max=self.logits.shape[1] - 1)
        row = torch.arange(len(mode), device=mode.device)
        mean, std = self.means[row, mode], self.stds[row, mode]
        if deterministic:
            std = torch.full_like(std, DETERMINISTIC_STD)
        return mean + std * noise[1:].T.reshape(mean.shape).clamp(-clip, clip)

    def log_density(self, chunk: Float[Tensor, "B Tp Da"], steps: int) -> Float[Tensor, " B"]:
        """Joint log-density of the first `steps` actions, divided by the numbers in them.

        The authors do not divide, so that their log-probabilities, and with them the clip range
        of PPO, are on another scale than those of their other policies.
        """
        density = normal_log_density(chunk[:, None], self.means, self.stds)[:, :, :steps]
        joint = torch.logsumexp(self.logits.log_softmax(dim=-1) + density.sum(dim=(2, 3)), dim=-1)
        return joint / math.prod(density.shape[2:])

    def entropy(self, steps: int) -> Float[Tensor, " B"]:
        """Weighted entropy of the modes per number in the first `steps` actions.

        The authors' approximation, exact when the modes coincide; a lower bound otherwise.
        """
        of_modes = normal_entropy(self.stds)[:, :, :steps].mean(dim=(2, 3))
        return (self.logits.softmax(dim=-1) * of_modes).sum(dim=-1)


@dataclass(frozen=True)
class GMMPolicyConfig(OneStepPolicyConfig):
    """What defines a `GMMPolicy`, see `OneStepPolicyConfig`; the authors clip no noise here.

    Attributes:
        network: Architecture of the actor, an MLP or a transformer.
    """

    kind: ClassVar[str] = "gmm"
    network_types: ClassVar[NetworkTypes] = {
        "mlp": (GMMMLPConfig, GMMMLP),
        "transformer": (GMMTransformerConfig, GMMTransformer),
    }

    network: GMMMLPConfig | GMMTransformerConfig = field(default_factory=GMMMLPConfig)


class GMMPolicy(OneStepPolicy):
    """Draws a mode, then the numbers of a chunk independently (the authors' GMM baseline)."""

    distribution = MixtureChunk

    def noise_shape(self, batch_size: int) -> tuple[int, ...]:
        """`[1 + Tp * Da, B]`: what picks the mode, then what scatters the numbers of a chunk."""
        return 1 + self.config.horizon_steps * self.config.action_dim, batch_size
