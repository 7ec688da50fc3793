"""The diffusion policy itself, without Ray: what is deployed, saved and loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dppo_rllib.denoising import Chain, Denoiser, DenoisingConfig, DenoisingProcess
from dppo_rllib.modules.config_dicts import NetworkTypes, build_dataclass
from dppo_rllib.modules.policy import Encoded, PolicyConfig
from dppo_rllib.networks import (
    DiffusionMLP,
    DiffusionMLPConfig,
    EtaConfig,
    UNet1D,
    UNet1DConfig,
    build_eta,
)

DENOISERS: NetworkTypes = {
    "mlp": (DiffusionMLPConfig, DiffusionMLP),
    "unet": (UNet1DConfig, UNet1D),
}


@dataclass(frozen=True)
class DiffusionPolicyConfig(PolicyConfig):
    """Everything that defines a diffusion policy but its weights and its normalisation.

    Attributes:
        network: The denoiser's architecture, an MLP or a U-Net.
        ft_denoising_steps: `K'`, last sampler steps taken by the fine-tuned network; 0 for a
            policy that was only pre-trained.
        min_sampling_denoising_std: Floor of the sampling noise when exploring.
        min_logprob_denoising_std: Floor of the standard deviation in log-probabilities.
        denoising: The denoising process.
        learned_eta: Noise level of DDIM that fine-tuning learns; None keeps `denoising.eta`.
    """

    kind: ClassVar[str] = "diffusion"
    network_types: ClassVar[NetworkTypes] = DENOISERS

    network: DiffusionMLPConfig | UNet1DConfig = field(default_factory=DiffusionMLPConfig)
    ft_denoising_steps: int = 0
    min_sampling_denoising_std: float = 0.1
    min_logprob_denoising_std: float = 0.1
    denoising: DenoisingConfig = field(default_factory=DenoisingConfig)
    learned_eta: EtaConfig | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        steps = self.denoising.sampler_steps
        if not 0 <= self.ft_denoising_steps <= steps:
            raise ValueError(
                f"ft_denoising_steps={self.ft_denoising_steps}: expected 0 to the sampler's "
                f"{steps} steps"
            )
        for name in ("min_sampling_denoising_std", "min_logprob_denoising_std"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a positive number")
        if self.learned_eta is not None:
            if self.denoising.ddim_steps is None:
                raise ValueError(
                    f"learned_eta={self.learned_eta}: only DDIM has a noise level; set ddim_steps"
                )
            if self.denoising.eta != 1:
                raise ValueError(
                    f"eta={self.denoising.eta}: with learned_eta its base_eta is where it starts; "
                    "expected eta=1"
                )

    @property
    def fine_tuned(self) -> bool:
        """There is a fine-tuned actor beside the base."""
        return self.ft_denoising_steps > 0

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Any:
        """Inverse of `to_dict`.

        Raises:
            ValueError: A key is unknown or missing.
        """
        values = dict(values)
        values["denoising"] = build_dataclass(DenoisingConfig, values.get("denoising", {}))
        if (eta := values.get("learned_eta")) is not None:
            values["learned_eta"] = build_dataclass(EtaConfig, eta)
        return super().from_dict(values)


class DiffusionPolicy(nn.Module):
    """A base network, its fine-tuned copy if there is one, and the process they denoise with.

    Implements `ChunkPolicy`. `ft_denoising_steps` and `min_sampling_denoising_std` are attributes
    because training may anneal them; they start as configured.
    """

    scheduled: tuple[str, ...] = ("ft_denoising_steps", "min_sampling_denoising_std")
    eta: Any

    def __init__(self, config: DiffusionPolicyConfig):
        super().__init__()
        self.config = config
        self.process = DenoisingProcess(config.denoising)
        self.actor = config.build_network()
        if config.fine_tuned:
            self.actor_ft = config.build_network()
            self.actor_ft.load_state_dict(self.actor.state_dict())
            self.actor.requires_grad_(False)
        self.eta = None
        if config.learned_eta is not None:
            cond_dim = config.observation_spec.cond_dim
            self.eta = build_eta(
                config.learned_eta, cond_dim=cond_dim, action_dim=config.action_dim
            )
        self.ft_denoising_steps = config.ft_denoising_steps
        self.min_sampling_denoising_std = config.min_sampling_denoising_std

    @property
    def acting(self) -> Any:
        """The network that takes the last sampler steps."""
        return self.actor_ft if self.config.fine_tuned else self.actor

    @property
    def chain_steps(self) -> int:
        """`K'` at present."""
        return self.ft_denoising_steps

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
        score: bool = True,
    ) -> Chain:
        """Denoises one chunk per observation history.

        Args:
            obs: `{"state": [B, To, Do]}`, normalised, and `"rgb": [B, Ti, C, H, W]` if it sees
                pictures.
            deterministic: Act greedily.
            noise: As from `draw_noise`; drawn here if None.
            score: Unused, sampling tells log-probabilities.
        """
        if noise is None:
            noise = self.draw_noise(len(obs["state"]))
        eta = None if self.eta is None or deterministic else self.eta(obs)
        return self._denoise(self.actor, self.acting, obs, noise, deterministic, eta)

    @torch.no_grad()
    def base_chains(
        self, obs: dict[str, Tensor], rows: Int[Tensor, " B"], noise: Float[Tensor, "S_1 B Tp Da"]
    ) -> Float[Tensor, "B K_ft_1 Tp Da"]:
        """Explores with the base network in every step; the chain is as long as that of `sample`.

        Args:
            obs: As for `sample`.
            rows: Which observation each chain is for.
            noise: As from `draw_noise`, for each chain.
        """
        base = _SharedEncoding(self.actor, rows)
        eta = None if self.eta is None else self.eta(obs)[rows]
        return self._denoise(base, base, obs, noise, deterministic=False, eta=eta).x

    def _denoise(
        self,
        base: Denoiser,
        acting: Denoiser,
        obs: dict[str, Tensor],
        noise: Float[Tensor, "S_1 B Tp Da"],
        deterministic: bool,
        eta: Float[Tensor, "B 1 #Da"] | None,
    ) -> Chain:
        return self.process.sample(
            base,
            acting,
            obs,
            noise,
            ft_denoising_steps=self.ft_denoising_steps,
            min_sampling_std=self.min_sampling_denoising_std,
            min_logprob_std=self.config.min_logprob_denoising_std,
            act_steps=self.config.act_steps,
            deterministic=deterministic,
            eta=eta,
        )

    def encode(self, obs: dict[str, Tensor]) -> Encoded:
        """Features of observations, and the noise level if it is learned."""
        encoded = {"features": self.acting.encode(obs)}
        return encoded if self.eta is None else encoded | {"eta": self.eta(obs)}

    def log_prob(
        self,
        encoded: Encoded,
        chain_prev: Float[Tensor, "B Tp Da"],
        chain_next: Float[Tensor, "B Tp Da"],
        ft_index: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Log-probability of fine-tuned transitions under the fine-tuned network.

        Args:
            encoded: From `encode`, one row per transition.
            chain_prev: Chunks before the transition.
            chain_next: Chunks after it.
            ft_index: Which fine-tuned step, 0 the noisiest to `K'-1` the last.
        """
        first = self.process.config.sampler_steps - self.ft_denoising_steps
        return self.process.transition_log_prob(
            self.acting,
            encoded["features"],
            chain_prev,
            chain_next,
            ft_index + first,
            min_logprob_std=self.config.min_logprob_denoising_std,
            act_steps=self.config.act_steps,
            eta=encoded.get("eta"),
        )

    def entropy(self, encoded: Encoded) -> Float[Tensor, " B"]:
        """The learned noise level: the authors reward it in place of an entropy.

        Raises:
            ValueError: The noise level is not learned.
        """
        if "eta" not in encoded:
            raise ValueError("entropy: a diffusion policy has one only with learned_eta")
        return encoded["eta"].mean(dim=(1, 2))

    def draw_bc(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Noise levels `t` and noise of the cloning loss."""
        config = self.config
        steps = config.denoising.denoising_steps
        timestep = torch.randint(steps, (batch_size,), generator=generator)
        shape = (batch_size, config.horizon_steps, config.action_dim)
        return {"timestep": timestep, "noise": torch.randn(shape, generator=generator)}

    def bc_loss(
        self,
        network: Any,
        obs: dict[str, Tensor],
        chunk: Float[Tensor, "B Tp Da"],
        draws: dict[str, Tensor],
    ) -> Float[Tensor, " B"]:
        """Squared error of the predicted noise (DDPM, Eq. 14)."""
        return self.process.bc_loss(network, obs, chunk, **draws)


class _SharedEncoding:
    """A denoiser that encodes an observation once for all chunks that share it."""

    def __init__(self, network: Denoiser, rows: Int[Tensor, " B"]):
        self._network, self._rows = network, rows

    def embed_time(self, timesteps: Int[Tensor, " S"]) -> Float[Tensor, "S E"]:
        return self._network.embed_time(timesteps)

    def encode(self, obs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        return self._network.encode(obs)[self._rows]

    def __call__(
        self,
        x: Float[Tensor, "B Tp Da"],
        time_embedding: Float[Tensor, "#B E"],
        features: Float[Tensor, "B F"],
    ) -> Float[Tensor, "B Tp Da"]:
        return self._network(x, time_embedding, features)
