"""Policies that draw a chunk at once, without an inner chain: the common part and the Gaussian."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dppo_rllib.denoising import Chain
from dppo_rllib.denoising.process import LOG_PROB_MAX, LOG_PROB_MIN
from dppo_rllib.modules.config_dicts import NetworkTypes
from dppo_rllib.modules.policy import Encoded, PolicyConfig
from dppo_rllib.networks.gaussian import GaussianMLP, GaussianMLPConfig
from dppo_rllib.networks.transformer import GaussianTransformer, GaussianTransformerConfig

DETERMINISTIC_STD = 1e-4  # what the authors leave of the noise when acting deterministically


@dataclass(frozen=True)
class OneStepPolicyConfig(PolicyConfig):
    """What defines a policy that draws a chunk at once, but its weights and its normalisation.

    Attributes:
        fine_tuned: There is a fine-tuned actor beside the base.
        randn_clip_value: Bound on each draw of noise (in standard deviations), None for no bound.
    """

    fine_tuned: bool = False
    randn_clip_value: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.randn_clip_value is not None and not self.randn_clip_value > 0:
            raise ValueError(
                f"randn_clip_value={self.randn_clip_value}: expected a positive number, or None"
            )


@runtime_checkable
class ChunkDistribution(Protocol):
    """What a head says of the chunks of a batch: a named tuple of parameters, a row per chunk."""

    def _asdict(self) -> dict[str, Tensor]:
        """The parameters by name."""

    def draw(
        self, noise: Float[Tensor, "draws B ..."], *, clip: float, deterministic: bool
    ) -> Float[Tensor, "B Tp Da"]:
        """Chunks made of standard normal numbers.

        Args:
            noise: See the policy's `draw_noise`.
            clip: Bound on each number that scatters an action.
            deterministic: Scatter no more than `DETERMINISTIC_STD`.
        """

    def log_density(self, chunk: Float[Tensor, "B Tp Da"], steps: int) -> Float[Tensor, " B"]:
        """Mean over the numbers in the first `steps` actions of a chunk's log-density."""

    def entropy(self, steps: int) -> Float[Tensor, " B"]:
        """Entropy of the first `steps` actions per number in them."""


class OneStepPolicy(nn.Module):
    """A base head and its fine-tuned copy, if there is one; a chunk is a single draw.

    Implements `ChunkPolicy` with a chain of one step, from zeros to the chunk. Subclasses say how
    much noise a draw takes and which distribution their heads describe.
    """

    scheduled: tuple[str, ...] = ()
    chain_steps = 1
    distribution: ClassVar[Callable[..., ChunkDistribution]]

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        self.actor = config.build_network()
        if config.fine_tuned:
            self.actor_ft = config.build_network()
            self.actor_ft.load_state_dict(self.actor.state_dict())
            self.actor.requires_grad_(False)

    @property
    def acting(self) -> Any:
        """The network that draws chunks: the fine-tuned one if there is one."""
        return self.actor_ft if self.config.fine_tuned else self.actor

    def noise_shape(self, batch_size: int) -> tuple[int, ...]:
        """`[draws, B, …]`, shape of all the randomness of one chunk per row."""
        raise NotImplementedError

    def draw_noise(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "draws B ..."]:
        """All the randomness of one chunk per row, standard normal, on the policy's device.

        A generator draws on its own device: one of the host gives the same noise everywhere.
        """
        device = self.actor.logvar_min.device
        source = device if generator is None else generator.device
        shape = self.noise_shape(batch_size)
        return torch.randn(shape, device=source, generator=generator).to(device)

    @torch.no_grad()
    def sample(
        self,
        obs: dict[str, Tensor],
        *,
        deterministic: bool = False,
        noise: Float[Tensor, "draws B ..."] | None = None,
        score: bool = True,
    ) -> Chain:
        """Draws one chunk per observation history.

        Args:
            obs: `{"state": [B, To, Do]}`, normalised, and `"rgb": [B, Ti, C, H, W]` if it sees
                pictures.
            deterministic: Leave next to no noise; log-probabilities stay those of exploring.
            noise: As from `draw_noise`; drawn here if None.
            score: Unused, drawing tells log-probabilities.
        """
        if noise is None:
            noise = self.draw_noise(len(obs["state"]))
        distribution = self._describe(self.acting, obs)
        x = self._draw(distribution, noise, deterministic)
        return Chain(x, self._log_prob(distribution, x[:, 1])[:, None])

    @torch.no_grad()
    def base_chains(
        self, obs: dict[str, Tensor], rows: Int[Tensor, " B"], noise: Float[Tensor, "draws B ..."]
    ) -> Float[Tensor, "B 2 Tp Da"]:
        """Zeros, and the chunks that the base network draws.

        Args:
            obs: As for `sample`.
            rows: Which observation each chunk is for.
            noise: As from `draw_noise`, for each chunk.
        """
        distribution = type(self).distribution(*self.actor(self.actor.encode(obs)[rows]))
        return self._draw(distribution, noise, deterministic=False)

    def encode(self, obs: dict[str, Tensor]) -> Encoded:
        """Parameters of the distribution: the network runs once for likelihood and entropy."""
        return self._describe(self.acting, obs)._asdict()

    def log_prob(
        self,
        encoded: Encoded,
        chain_prev: Float[Tensor, "B Tp Da"],
        chain_next: Float[Tensor, "B Tp Da"],
        ft_index: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Log-probability of chunks as PPO uses it (differentiable).

        The mean over the numbers in the executed actions, then clamped to [-5, 2]. (A denoising
        step clamps each number, as the authors do.)

        Args:
            encoded: From `encode`, one row per chunk.
            chain_prev: Zeros; unused.
            chain_next: Chunks.
            ft_index: Zeros; unused.
        """
        return self._log_prob(type(self).distribution(**encoded), chain_next)

    def entropy(self, encoded: Encoded) -> Float[Tensor, " B"]:
        """Entropy of the executed actions per number in them (differentiable)."""
        return type(self).distribution(**encoded).entropy(self.config.act_steps)

    def draw_bc(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Nothing: the cloning loss is not random."""
        return {}

    def bc_loss(
        self,
        network: nn.Module,
        obs: dict[str, Tensor],
        chunk: Float[Tensor, "B Tp Da"],
        draws: dict[str, Tensor],
    ) -> Float[Tensor, " B"]:
        """Negative log-likelihood of chunks, all of `Tp`, per number in them."""
        return -self._describe(network, obs).log_density(chunk, self.config.horizon_steps)

    def _describe(self, network: Any, obs: dict[str, Tensor]) -> ChunkDistribution:
        return type(self).distribution(*network(network.encode(obs)))

    def _draw(
        self, distribution: ChunkDistribution, noise: Tensor, deterministic: bool
    ) -> Float[Tensor, "B 2 Tp Da"]:
        clip = self.config.randn_clip_value
        bound = math.inf if clip is None else clip
        chunk = distribution.draw(noise, clip=bound, deterministic=deterministic)
        return torch.stack([torch.zeros_like(chunk), chunk], dim=1)

    def _log_prob(
        self, distribution: ChunkDistribution, chunk: Float[Tensor, "B Tp Da"]
    ) -> Float[Tensor, " B"]:
        log_density = distribution.log_density(chunk, self.config.act_steps)
        return log_density.clamp(LOG_PROB_MIN, LOG_PROB_MAX)


def normal_log_density(
    x: Float[Tensor, "..."], mean: Float[Tensor, "..."], std: Float[Tensor, "..."]
) -> Float[Tensor, "..."]:
    """Elementwise log-density of the normal distribution."""
    return -0.5 * ((x - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def normal_entropy(std: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Elementwise entropy of the normal distribution."""
    return std.log() + 0.5 * math.log(2 * math.pi * math.e)


class GaussianChunk(NamedTuple):
    """Independent normal distributions of all numbers in a chunk."""

    mean: Float[Tensor, "B Tp Da"]
    std: Float[Tensor, "B Tp Da"]

    def draw(
        self, noise: Float[Tensor, "1 B Tp Da"], *, clip: float, deterministic: bool
    ) -> Float[Tensor, "B Tp Da"]:
        """Chunks made of standard normal numbers, see `ChunkDistribution`."""
        std = torch.full_like(self.std, DETERMINISTIC_STD) if deterministic else self.std
        return self.mean + std * noise[0].clamp(-clip, clip)

    def log_density(self, chunk: Float[Tensor, "B Tp Da"], steps: int) -> Float[Tensor, " B"]:
        """Log-density of the first `steps` actions per number in them."""
        return normal_log_density(chunk, self.mean, self.std)[:, :steps].mean(dim=(1, 2))

    def entropy(self, steps: int) -> Float[Tensor, " B"]:
        """Entropy of the first `steps` actions per number in them."""
        return normal_entropy(self.std)[:, :steps].mean(dim=(1, 2))


@dataclass(frozen=True)
class GaussianPolicyConfig(OneStepPolicyConfig):
    """What defines a `GaussianPolicy`, see `OneStepPolicyConfig`.

    Attributes:
        randn_clip_value: Bound on each draw of noise (in standard deviations), None for no bound.
        network: Architecture of the actor, an MLP or a transformer.
    """

    kind: ClassVar[str] = "gaussian"
    network_types: ClassVar[NetworkTypes] = {
        "mlp": (GaussianMLPConfig, GaussianMLP),
        "transformer": (GaussianTransformerConfig, GaussianTransformer),
    }

    randn_clip_value: float | None = 3.0
    network: GaussianMLPConfig | GaussianTransformerConfig = field(
        default_factory=GaussianMLPConfig
    )


class GaussianPolicy(OneStepPolicy):
    """Draws the numbers of a chunk independently (the authors' Gaussian baseline)."""

    distribution = GaussianChunk

    def noise_shape(self, batch_size: int) -> tuple[int, ...]:
        """`[1, B, Tp, Da]`."""
        return 1, batch_size, self.config.horizon_steps, self.config.action_dim
