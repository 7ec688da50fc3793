"""The inner MDP: denoising one action chunk, its chain and its log-probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dppo_rllib.denoising.schedules import (
    cosine_schedule,
    ddim_mean_std,
    ddim_table,
    ddpm_table,
)

LOG_PROB_MIN, LOG_PROB_MAX = -5.0, 2.0  # per element, as in the authors' loss
_DETERMINISTIC_STD = 1e-3  # DDPM keeps a little noise when acting greedily, none in the last step


@runtime_checkable
class Denoiser(Protocol):
    """What the process asks of a network (layer 1): time and observation are embedded apart.

    The sampler calls `embed_time` and `encode` once per chunk and `__call__` once per step.
    """

    def embed_time(self, timesteps: Int[Tensor, " S"]) -> Float[Tensor, "S E"]:
        """Embedding of forward steps `t`."""

    def encode(self, obs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Features of an observation history."""

    def __call__(
        self,
        x: Float[Tensor, "B Tp Da"],
        time_embedding: Float[Tensor, "#B E"],
        features: Float[Tensor, "B F"],
    ) -> Float[Tensor, "B Tp Da"]:
        """Predicted noise (or clean chunk) of the noisy chunk `x`."""


@dataclass(frozen=True)
class DenoisingConfig:
    """How chunks are denoised. Names and defaults are those of the DPPO authors.

    Attributes:
        denoising_steps: `K`, levels of the forward process.
        ddim_steps: Sampler steps of DDIM; None samples all `K` steps with DDPM.
        eta: DDIM's noise level while exploring (0 when acting deterministically).
        predict_epsilon: The network predicts the noise; otherwise the clean chunk.
        denoised_clip_value: Bound on the predicted clean chunk, None for no bound.
        eps_clip_value: Bound on eps in DDIM, None for no bound.
        randn_clip_value: Bound on each draw of sampling noise (in standard deviations).
        final_action_clip_value: Bound on the sampled chunk, None for no bound.
    """

    denoising_steps: int = 20
    ddim_steps: int | None = None
    eta: float = 1.0
    predict_epsilon: bool = True
    denoised_clip_value: float | None = 1.0
    eps_clip_value: float | None = None
    randn_clip_value: float = 3.0
    final_action_clip_value: float | None = None

    def __post_init__(self) -> None:
        _positive("denoising_steps", self.denoising_steps)
        if self.ddim_steps is not None and not 1 <= self.ddim_steps <= self.denoising_steps:
            raise ValueError(
                f"ddim_steps={self.ddim_steps}: expected 1 to denoising_steps="
                f"{self.denoising_steps}, or None for DDPM"
            )
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta={self.eta}: expected a value in [0, 1]")
        if self.eta != 1 and self.ddim_steps is None:
            raise ValueError(
                f"eta={self.eta}: only DDIM has a noise level; set ddim_steps, or eta=1"
            )
        if self.eps_clip_value is not None and self.ddim_steps is None:
            raise ValueError(
                f"eps_clip_value={self.eps_clip_value}: only DDIM clips eps; "
                "set ddim_steps, or eps_clip_value=None"
            )
        for name in (
            "denoised_clip_value",
            "eps_clip_value",
            "randn_clip_value",
            "final_action_clip_value",
        ):
            value = getattr(self, name)
            if value is not None:
                _positive(name, value)

    @property
    def sampler_steps(self) -> int:
        """`S`: network calls per chunk."""
        return self.ddim_steps or self.denoising_steps


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name}={value}: expected a positive number")


class Chain(NamedTuple):
    """The fine-tuned end of one denoising: `x` before its first step and after each."""

    x: Float[Tensor, "B K_ft_1 Tp Da"]
    log_probs: Float[Tensor, "B K_ft"]

    @property
    def chunk(self) -> Float[Tensor, "B Tp Da"]:
        """The clean action chunk."""
        return self.x[:, -1]


class DenoisingProcess(nn.Module):
    """Samples chunks and scores transitions; holds coefficients, no parameters.

    Indices `i` count sampler steps, 0 the noisiest, `S-1` the last.
    """

    def __init__(self, config: DenoisingConfig):
        super().__init__()
        self.config = config
        schedule = cosine_schedule(config.denoising_steps)
        self.alphas_cumprod = schedule.alphas_cumprod
        if config.ddim_steps is None:
            self.table = ddpm_table(schedule)
            self._greedy = self.table
            greedy_std = self.table.std.clamp(min=_DETERMINISTIC_STD)
            self._greedy_std = [*greedy_std[:-1].tolist(), 0.0]
        else:
            self.table = ddim_table(schedule, config.ddim_steps, config.eta)
            self._greedy = ddim_table(schedule, config.ddim_steps, 0.0)
            self._greedy_std = [0.0] * config.ddim_steps
        self._std = self.table.std.tolist()
        self._cache_rows()

    def _cache_rows(self) -> None:
        # Indexing nine columns in every sampler step would cost more than the arithmetic.
        self._rows = [self.table.at(i) for i in range(len(self.table))]
        self._greedy_rows = [self._greedy.at(i) for i in range(len(self._greedy))]

    def _apply(self, fn, recurse=True):  # type: ignore[no-untyped-def]
        """Tables follow the module to its device; they are no buffers, so no state dict key."""
        super()._apply(fn, recurse)
        device = fn(torch.empty(0)).device
        self.table, self._greedy = self.table.to(device), self._greedy.to(device)
        self.alphas_cumprod = self.alphas_cumprod.to(device)
        self._cache_rows()
        return self

    def mean_std(
        self,
        x: Float[Tensor, "B Tp Da"],
        output: Float[Tensor, "B Tp Da"],
        index: int | Int[Tensor, " B"],
        *,
        deterministic: bool = False,
        eta: Float[Tensor, "..."] | None = None,
    ) -> tuple[Float[Tensor, "B Tp Da"], Float[Tensor, "..."]]:
        """Mean and own standard deviation (no floor) of the step from `x`.

        Args:
            x: Noisy chunk.
            output: The network's prediction on it.
            index: Sampler step, one for all or one per row.
            deterministic: Take DDIM's mean at eta = 0.
            eta: A noise level that is not the configured constant (DDIM only).
        """
        config = self.config
        if eta is not None and config.ddim_steps is None:
            raise ValueError(f"eta={eta}: only DDIM has a noise level, and ddim_steps=None")
        if isinstance(index, int):
            step = (self._greedy_rows if deterministic else self._rows)[index]
        else:
            step = (self._greedy if deterministic else self.table).at(index)
        x0 = step.x0_from_x * x - step.x0_from_eps * output if config.predict_epsilon else output
        if config.denoised_clip_value is not None:
            x0 = x0.clamp(-config.denoised_clip_value, config.denoised_clip_value)
        if config.eps_clip_value is None and eta is None:
            return step.mean_from_x0 * x0 + step.mean_from_x * x, step.std
        if deterministic:
            eta_now: Tensor | float = 0.0
        else:
            eta_now = config.eta if eta is None else eta
        return ddim_mean_std(step, x, x0, eta_now, config.eps_clip_value)

    def draw_noise(
        self,
        shape: tuple[int, int, int],
        *,
        device: torch.device | str = "cpu",
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "S_1 B Tp Da"]:
        """All the randomness of one sampling: row 0 is the initial chunk, row 1+i step i's.

        A generator draws on its own device: one of the host gives the same noise everywhere.
        """
        source = device if generator is None else generator.device
        size = (self.config.sampler_steps + 1, *shape)
        return torch.randn(size, device=source, generator=generator).to(device)

    @torch.no_grad()
    def sample(
        self,
        base: Denoiser,
        actor: Denoiser,
        obs: dict[str, Tensor],
        noise: Float[Tensor, "S_1 B Tp Da"],
        *,
        ft_denoising_steps: int,
        min_sampling_std: float,
        min_logprob_std: float,
        act_steps: int,
        deterministic: bool = False,
        eta: Float[Tensor, "..."] | None = None,
    ) -> Chain:
        """Denoises chunks: `base` takes the first steps, `actor` the last `K'`.

        Args:
            base: The frozen pre-trained network.
            actor: The fine-tuned network.
            obs: Observation histories, batch first.
            noise: See `draw_noise`; clipped here at `randn_clip_value`, but for row 0.
            ft_denoising_steps: `K'`, 0 samples from `base` alone.
            min_sampling_std: Floor of the noise of every step while exploring.
            min_logprob_std: Floor of the standard deviation in log-probabilities.
            act_steps: Leading steps of the chunk that log-probabilities count.
            deterministic: Act greedily: the sampler's own noise only (DDPM), or none (DDIM).
            eta: A noise level that is not the configured constant (DDIM only).
        """
        steps, first_ft = self.config.sampler_steps, self.config.sampler_steps - ft_denoising_steps
        floors = (
            self._greedy_std if deterministic else [max(s, min_sampling_std) for s in self._std]
        )
        clip = self.config.randn_clip_value
        draws = noise[1:].clamp(-clip, clip)
        x = noise[0]
        chain, means, stds = [x] if first_ft == 0 else [], [], []
        network, time, features = base, base.embed_time(self.table.timestep), None
        for i in range(steps):
            if i == first_ft and actor is not base:
                network, time, features = actor, actor.embed_time(self.table.timestep), None
            if features is None:
                features = network.encode(obs)
            output = network(x, time[i : i + 1], features).to(x.dtype)
            mean, std = self.mean_std(x, output, i, deterministic=deterministic, eta=eta)
            if eta is None or deterministic:
                x = mean + floors[i] * draws[i] if floors[i] > 0 else mean
            else:
                x = mean + std.clamp(min=min_sampling_std) * draws[i]
            if i == steps - 1 and self.config.final_action_clip_value is not None:
                bound = self.config.final_action_clip_value
                x = x.clamp(-bound, bound)
            if i >= first_ft - 1:
                chain.append(x)
            if i >= first_ft:
                means.append(mean)
                stds.append(std)
        xs = torch.stack(chain, dim=1)
        if not means:
            return Chain(xs, xs.new_zeros(len(xs), 0))
        std = torch.stack([torch.atleast_2d(s) for s in stds], dim=-3).clamp(min=min_logprob_std)
        return Chain(xs, mean_log_prob(xs[:, 1:], torch.stack(means, dim=1), std, act_steps))

    def transition_log_prob(
        self,
        actor: Denoiser,
        features: Float[Tensor, "B F"],
        x: Float[Tensor, "B Tp Da"],
        x_next: Float[Tensor, "B Tp Da"],
        index: Int[Tensor, " B"],
        *,
        min_logprob_std: float,
        act_steps: int,
        eta: Float[Tensor, "..."] | None = None,
    ) -> Float[Tensor, " B"]:
        """Log-probability of one denoising step per row, see `mean_log_prob` (differentiable)."""
        # The few distinct steps are embedded once; rows share them.
        time = actor.embed_time(self.table.timestep)[index]
        output = actor(x, time, features).to(x.dtype)  # from lower precision, where in use
        mean, std = self.mean_std(x, output, index, eta=eta)
        return mean_log_prob(x_next, mean, std.clamp(min=min_logprob_std), act_steps)

    def bc_loss(
        self,
        network: Denoiser,
        obs: dict[str, Tensor],
        chunk: Float[Tensor, "B Tp Da"],
        timestep: Int[Tensor, " B"],
        noise: Float[Tensor, "B Tp Da"],
    ) -> Float[Tensor, " B"]:
        """Mean squared error of each row's prediction, noised to level `t` (DDPM, Eq. 14)."""
        alphas = self.alphas_cumprod
        time = network.embed_time(torch.arange(len(alphas), device=alphas.device))[timestep]
        noisy = self.add_noise(chunk, timestep, noise)
        output = network(noisy, time, network.encode(obs)).to(chunk.dtype)
        target = noise if self.config.predict_epsilon else chunk
        return nn.functional.mse_loss(output, target, reduction="none").mean(dim=(1, 2))

    def add_noise(
        self,
        chunk: Float[Tensor, "B Tp Da"],
        timestep: Int[Tensor, " B"],
        noise: Float[Tensor, "B Tp Da"],
    ) -> Float[Tensor, "B Tp Da"]:
        """Sample of `q(x_t | x_0)`: the clean chunk noised to level `t`."""
        alpha = self.alphas_cumprod[timestep][:, None, None]
        return torch.sqrt(alpha) * chunk + torch.sqrt(1 - alpha) * noise


def mean_log_prob(
    x_next: Float[Tensor, "*B Tp Da"],
    mean: Float[Tensor, "*B Tp Da"],
    std: Float[Tensor, "*#B #Tp #Da"],
    act_steps: int,
) -> Float[Tensor, "*B"]:
    """Log-probability of a transition as PPO uses it: one number per denoising step.

    The Gaussian log-density per element, clamped to [-5, 2], over the executed `act_steps`, then
    the mean (not the sum): the authors' importance ratio is the geometric mean over the elements.
    """
    std = std[..., :act_steps, :]
    z = (x_next[..., :act_steps, :] - mean[..., :act_steps, :]) / std
    log_prob = -0.5 * z.square() - (torch.log(std) + 0.5 * math.log(2 * math.pi))
    return log_prob.clamp(LOG_PROB_MIN, LOG_PROB_MAX).mean(dim=(-2, -1))
