"""Log-likelihood of an action chunk by the probability-flow ODE.

PPO on transitions scores every denoising step. PPO on the exact likelihood scores the chunk alone,
whose density no step gives. An ODE with the marginals of the diffusion takes the chunk to noise
(Song et al. 2021, Eq. 13), and the change of variables along it takes the density of the noise to
that of the chunk (Eq. 39):
```
log p(chunk) = log N(x(1); 0, I) + ∫ div(dx/du) du
```
A noisy chunk is `x = cos φ · chunk + sin φ · noise` with `cos φ = √ā`. In terms of the angle φ the
ODE has no stiff ends and, with the cosine schedule, hardly any curvature:
```
dx/dφ = (eps(x, φ) - sin φ · x) / cos φ
```
Time `u` counts levels: 0 is the clean chunk, `t + 1` the level that the network knows as `t`, `K`
noise. Between two levels the angle and the network's time embedding are interpolated. Below the
first level the score, `-eps / sin φ`, is that of the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torchdiffeq import odeint

from dppo_rllib.denoising.process import Denoiser, DenoisingProcess

METHODS = ("euler", "midpoint", "rk4")


@dataclass(frozen=True)
class ExactLikelihoodConfig:
    """How the ODE is solved; the defaults are the DPPO authors'.

    Only solvers of fixed steps: the steps of an adaptive one depend on the other rows of a batch,
    and a row would have another likelihood in each minibatch.

    Smaller steps or a higher order solve the ODE better, not the task: networks are trained at the
    levels alone, and chunks that noise has carried off the data diverge sooner.

    Attributes:
        step_size: Step, as a share of the way from chunk to noise; `1 / K` visits every level.
        method: "euler", "midpoint" or "rk4".
        num_probes: Random directions in which the divergence is estimated.

    Raises:
        ValueError: A field is out of its range.
    """

    step_size: float = 0.05
    method: str = "euler"
    num_probes: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.step_size <= 1:
            raise ValueError(f"step_size={self.step_size}: expected a value in (0, 1]")
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r}: expected one of {METHODS}")
        if self.num_probes < 1:
            raise ValueError(f"num_probes={self.num_probes}: expected at least 1")


class FrozenBase(NamedTuple):
    """The pre-trained network, where it takes the first steps of the sampler.

    Attributes:
        network: Its denoiser.
        features: Its features of the observations.
        ft_denoising_steps: `K'`, the last sampler steps, which are the fine-tuned network's.
    """

    network: Denoiser
    features: Float[Tensor, "B F"]
    ft_denoising_steps: int


def exact_log_likelihood(
    process: DenoisingProcess,
    network: Denoiser,
    features: Float[Tensor, "B F"],
    chunk: Float[Tensor, "B Tp Da"],
    probes: Float[Tensor, "E B Tp Da"],
    config: ExactLikelihoodConfig,
    *,
    base: FrozenBase | None = None,
) -> Float[Tensor, " B"]:
    """Log-density of whole chunks, in nats per element (differentiable).

    The mean over the `Tp x Da` elements, as log-probabilities of transitions are means; not
    clamped. The authors' are in bits: theirs are larger by `1 / ln 2`. Their ODE also lacks a
    factor `K` in time, so that it ends far from noise, and is no density for the ratio of PPO.

    The density is that of the networks as they are trained: the sampler's floors of the noise and
    its bound on the predicted chunk are no part of it. The ratio of two likelihoods of a chunk is
    free of the noise of the estimator only where both are computed with the same probes.

    Args:
        process: Levels of noise, and what the network predicts.
        network: The network that acts, at every level or, with `base`, at the less noisy ones.
        features: Its features of the observations.
        chunk: The sampled chunks.
        probes: Random directions of Hutchinson's estimator, each number -1 or 1. Their mean
            estimates the divergence without bias; it is exact if the mean of `probe ⊗ probe` is
            the identity.
        config: The solver.
        base: The network of the noisier levels; None if `network` takes all.

    Raises:
        ValueError: `base.ft_denoising_steps` is not 1 to the sampler's number of steps.
    """
    flow = _ProbabilityFlow(process, network, features, probes, base, chunk.dtype)
    levels = process.config.denoising_steps
    noise, log_det = odeint(
        flow,
        (chunk, chunk.new_zeros(len(chunk))),
        chunk.new_tensor([0.0, levels]),
        method=config.method,
        options={"step_size": config.step_size * levels},
    )
    log_prior = -0.5 * noise[-1].square() - 0.5 * math.log(2 * math.pi)
    return log_prior.mean(dim=(1, 2)) + log_det[-1] / chunk[0].numel()


class _ProbabilityFlow:
    """Right side of the ODE: how a chunk and its log-determinant change with time `u`."""

    def __init__(
        self,
        process: DenoisingProcess,
        network: Denoiser,
        features: Tensor,
        probes: Tensor,
        base: FrozenBase | None,
        dtype: torch.dtype,
    ):
        alphas = process.alphas_cumprod.to(dtype)
        self._angles = torch.cat(
            [alphas.new_zeros(1), torch.atan2(torch.sqrt(1 - alphas), torch.sqrt(alphas))]
        )
        self._predicts_noise = process.config.predict_epsilon
        self._probes = probes
        timesteps = torch.arange(len(alphas), device=alphas.device)
        self._fine_tuned = network, network.embed_time(timesteps), features
        self._until = math.inf if base is None else _last_fine_tuned_time(process, base)
        if base is not None and self._until < math.inf:
            self._base = base.network, base.network.embed_time(timesteps), base.features

    def __call__(self, time: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        u, x = time.item(), state[0]
        create_graph = torch.is_grad_enabled()
        interval = min(int(u), len(self._angles) - 2)
        speed = self._angles[interval + 1] - self._angles[interval]
        phi = self._angles[interval] + (u - interval) * speed
        with torch.enable_grad():  # the divergence takes a derivative also when sampling
            x = x if x.requires_grad else x.detach().requires_grad_()
            noise = self._noise(x, u, phi)
            trace = self._trace(noise, x, create_graph)
        scale = speed / torch.cos(phi)
        sine = torch.sin(phi)
        return scale * (noise - sine * x), scale * (trace - sine * x[0].numel())

    def _noise(self, x: Tensor, u: float, phi: Tensor) -> Tensor:
        """Predicted noise at angle `phi`."""
        network, embeddings, features = self._fine_tuned if u < self._until else self._base
        level = max(u - 1, 0.0)  # the network knows none below its first
        lower = min(int(level), len(embeddings) - 2) if len(embeddings) > 1 else 0
        upper = min(lower + 1, len(embeddings) - 1)
        time = torch.lerp(embeddings[lower], embeddings[upper], level - lower)
        output = network(x, time[None], features)
        angle = phi if u > 1 else self._angles[1]
        if not self._predicts_noise:
            output = (x - torch.cos(angle) * output) / torch.sin(angle)
        return output * torch.sin(phi) / torch.sin(angle)

    def _trace(self, noise: Tensor, x: Tensor, create_graph: bool) -> Tensor:
        """Hutchinson's estimate of the trace of each row's Jacobian (Song et al. 2021, Eq. 40)."""
        traces = [
            torch.autograd.grad(noise, x, probe, create_graph=create_graph, retain_graph=True)[0]
            .mul(probe)
            .sum(dim=(1, 2))
            for probe in self._probes
        ]
        return torch.stack(traces).mean(dim=0)


def _last_fine_tuned_time(process: DenoisingProcess, base: FrozenBase) -> float:
    """Half-way between the noisiest level of the fine-tuned network and the base's least noisy."""
    steps, ft_steps = process.config.sampler_steps, base.ft_denoising_steps
    if not 1 <= ft_steps <= steps:
        raise ValueError(
            f"ft_denoising_steps={ft_steps}: expected 1 to the sampler's {steps} steps"
        )
    if ft_steps == steps:
        return math.inf
    levels = process.table.timestep[steps - ft_steps - 1 : steps - ft_steps + 1]
    return levels.float().mean().item() + 1
