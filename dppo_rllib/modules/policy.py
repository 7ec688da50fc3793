"""The diffusion policy itself, without Ray: what is deployed, saved and loaded."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dppo_rllib.denoising import Chain, DenoisingConfig, DenoisingProcess
from dppo_rllib.networks import DiffusionMLP, DiffusionMLPConfig, ObservationSpec


@dataclass(frozen=True)
class PolicyConfig:
    """Everything that defines a diffusion policy but its weights and its normalisation.

    Attributes:
        obs_dim: `Do`, width of one observation.
        action_dim: `Da`.
        cond_steps: `To`, observations the policy sees, newest last.
        horizon_steps: `Tp`, actions it predicts.
        act_steps: `Ta <= Tp`, actions executed before it looks again.
        ft_denoising_steps: `K'`, last sampler steps taken by the fine-tuned network; 0 for a
            policy that was only pre-trained.
        min_sampling_denoising_std: Floor of the sampling noise when exploring.
        min_logprob_denoising_std: Floor of the standard deviation in log-probabilities.
        denoising: The denoising process.
        network: The denoiser's architecture.
    """

    obs_dim: int
    action_dim: int
    cond_steps: int = 1
    horizon_steps: int = 4
    act_steps: int = 4
    ft_denoising_steps: int = 0
    min_sampling_denoising_std: float = 0.1
    min_logprob_denoising_std: float = 0.1
    denoising: DenoisingConfig = field(default_factory=DenoisingConfig)
    network: DiffusionMLPConfig = field(default_factory=DiffusionMLPConfig)

    def __post_init__(self) -> None:
        for name in ("obs_dim", "action_dim", "cond_steps", "horizon_steps", "act_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.act_steps > self.horizon_steps:
            raise ValueError(
                f"act_steps={self.act_steps}: a policy that predicts horizon_steps="
                f"{self.horizon_steps} actions cannot execute more than these"
            )
        steps = self.denoising.sampler_steps
        if not 0 <= self.ft_denoising_steps <= steps:
            raise ValueError(
                f"ft_denoising_steps={self.ft_denoising_steps}: expected 0 to the sampler's "
                f"{steps} steps"
            )
        for name in ("min_sampling_denoising_std", "min_logprob_denoising_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a positive number")

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionary (JSON)."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PolicyConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: A key is unknown or missing.
        """
        values = dict(values)
        values["denoising"] = build_dataclass(DenoisingConfig, values.get("denoising", {}))
        values["network"] = build_dataclass(DiffusionMLPConfig, values.get("network", {}))
        return build_dataclass(cls, values)


def build_dataclass(cls: Any, values: dict[str, Any]) -> Any:
    """Builds dataclass `cls` from a dictionary (lists become tuples).

    Raises:
        ValueError: A key is not a field of `cls`, or a required field is missing.
    """
    names = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            raise ValueError(f"{cls.__name__}.{key}: unknown field; expected one of {names}")
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def build_actor(config: PolicyConfig) -> DiffusionMLP:
    """A denoiser of the configured architecture, with fresh weights."""
    return DiffusionMLP(
        config.network,
        ObservationSpec(config.cond_steps * config.obs_dim),
        horizon_steps=config.horizon_steps,
        action_dim=config.action_dim,
    )


class DiffusionPolicy(nn.Module):
    """A base network, its fine-tuned copy if there is one, and the process they denoise with.

    `ft_denoising_steps` and `min_sampling_denoising_std` are attributes because training may
    anneal them; they start as configured.
    """

    def __init__(self, config: PolicyConfig):
        super().__init__()
        self.config = config
        self.process = DenoisingProcess(config.denoising)
        self.actor = build_actor(config)
        if config.ft_denoising_steps > 0:
            self.actor_ft = build_actor(config)
            self.actor_ft.load_state_dict(self.actor.state_dict())
            self.actor.requires_grad_(False)
        self.ft_denoising_steps = config.ft_denoising_steps
        self.min_sampling_denoising_std = config.min_sampling_denoising_std

    @property
    def acting(self) -> DiffusionMLP:
        """The network that takes the last sampler steps."""
        return self.actor_ft if self.config.ft_denoising_steps > 0 else self.actor

    def draw_noise(
        self, batch_size: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "S_1 B Tp Da"]:
        """All the randomness of one chunk per row, on the policy's device."""
        shape = (batch_size, self.config.horizon_steps, self.config.action_dim)
        device = self.process.alphas_cumprod.device
        return self.process.draw_noise(shape, device=device, generator=generator)

    def sample(
        self,
        obs: dict[str, Tensor],
        *,
        deterministic: bool = False,
        noise: Float[Tensor, "S_1 B Tp Da"] | None = None,
        base_only: bool = False,
    ) -> Chain:
        """Denoises one chunk per observation history.

        Args:
            obs: `{"state": [B, To, Do]}`, normalised.
            deterministic: Act greedily.
            noise: As from `draw_noise`; drawn here if None.
            base_only: Every step is taken by the base network (the chain is of the same length).
        """
        if noise is None:
            noise = self.draw_noise(len(obs["state"]))
        return self.process.sample(
            self.actor,
            self.actor if base_only else self.acting,
            obs,
            noise,
            ft_denoising_steps=self.ft_denoising_steps,
            min_sampling_std=self.min_sampling_denoising_std,
            min_logprob_std=self.config.min_logprob_denoising_std,
            act_steps=self.config.act_steps,
            deterministic=deterministic,
        )

    def log_prob(
        self,
        obs: dict[str, Tensor],
        chain_prev: Float[Tensor, "B Tp Da"],
        chain_next: Float[Tensor, "B Tp Da"],
        ft_index: Tensor,
    ) -> Float[Tensor, " B"]:
        """Log-probability of fine-tuned transitions under the fine-tuned network.

        Args:
            obs: Observation histories, one per transition.
            chain_prev: Chunks before the transition.
            chain_next: Chunks after it.
            ft_index: Which fine-tuned step, 0 the noisiest to `K'-1` the last.
        """
        first = self.process.config.sampler_steps - self.ft_denoising_steps
        return self.process.transition_log_prob(
            self.acting,
            self.acting.encode(obs),
            chain_prev,
            chain_next,
            ft_index + first,
            min_logprob_std=self.config.min_logprob_denoising_std,
            act_steps=self.config.act_steps,
        )
