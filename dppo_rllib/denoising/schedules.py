"""Noise schedules, and the coefficients of every sampler step in one table.

DDPM and DDIM are the same affine Gaussian transition with different coefficients. `StepTable`
holds these coefficients in sampling order: row 0 is the noisiest step, row S-1 the one that yields
the clean action chunk.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

_COSINE_OFFSET = 0.008  # s of Nichol & Dhariwal (2021), Eq. 17
_MAX_BETA = 0.999
_MIN_VARIANCE = 1e-20
_MIN_DDIM_SIGMA = 1e-10


@dataclass(frozen=True)
class NoiseSchedule:
    """The forward process: `K` noise levels, index 0 the least noisy.

    Attributes:
        betas: Variance added by each forward step.
        alphas_cumprod: Signal variance left after each step (`ā_t`).
        alphas_cumprod_prev: `ā_{t-1}`, with `ā_{-1} = 1`.
    """

    betas: Float[Tensor, " K"]
    alphas_cumprod: Float[Tensor, " K"]
    alphas_cumprod_prev: Float[Tensor, " K"]

    @property
    def alphas(self) -> Float[Tensor, " K"]:
        """Signal variance kept by each forward step."""
        return 1.0 - self.betas

    @property
    def posterior_variance(self) -> Float[Tensor, " K"]:
        """Variance of `q(x_{t-1} | x_t, x_0)` (DDPM, Eq. 7), floored at 1e-20."""
        variance = self.betas * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)
        return variance.clamp(min=_MIN_VARIANCE)


def cosine_schedule(denoising_steps: int) -> NoiseSchedule:
    """Cosine schedule of Nichol & Dhariwal (2021) on `denoising_steps + 1` points.

    Computed in float64, stored in float32, as the DPPO authors do.
    """
    points = denoising_steps + 1
    x = torch.linspace(0, points, points, dtype=torch.float64)
    f = torch.cos((x / points + _COSINE_OFFSET) / (1 + _COSINE_OFFSET) * torch.pi / 2) ** 2
    f = f / f[0]
    betas = (1 - f[1:] / f[:-1]).clamp(0, _MAX_BETA).float()
    alphas_cumprod = torch.cumprod(1.0 - betas, dim=0)
    previous = torch.cat([torch.ones(1), alphas_cumprod[:-1]])
    return NoiseSchedule(betas, alphas_cumprod, previous)


@dataclass(frozen=True)
class StepTable:
    """Coefficients of the `S` sampler steps, or of one of them, or of a batch of them.

    ```
    x0   = clip(x0_from_x * x - x0_from_eps * eps)
    mean = mean_from_x0 * x0 + mean_from_x * x
    ```
    Rows are ordered as they are sampled. The last three columns serve the branch in which eps is
    clipped or the noise level is learned, where DDIM's mean is not affine any more.

    Attributes:
        timestep: Forward step `t` that the network is told, `K-1 … 0`.
        x0_from_x: `√(1/ā_t)`.
        x0_from_eps: `√(1/ā_t - 1)`.
        mean_from_x0: Weight of the predicted clean chunk in the next mean.
        mean_from_x: Weight of the current chunk in the next mean.
        std: The sampler's own standard deviation, before any floor.
        alpha_cumprod: `ā_t`.
        alpha_cumprod_prev: `ā` of the next (less noisy) level, 1 after the last step.
        sigma: DDIM's standard deviation at eta = 1 (zero for DDPM).
    """

    timestep: Int[Tensor, "*S"]
    x0_from_x: Float[Tensor, "*S"]
    x0_from_eps: Float[Tensor, "*S"]
    mean_from_x0: Float[Tensor, "*S"]
    mean_from_x: Float[Tensor, "*S"]
    std: Float[Tensor, "*S"]
    alpha_cumprod: Float[Tensor, "*S"]
    alpha_cumprod_prev: Float[Tensor, "*S"]
    sigma: Float[Tensor, "*S"]

    def __len__(self) -> int:
        return len(self.timestep)

    def at(self, index: int | Int[Tensor, " B"]) -> StepTable:
        """Row `index`, or one row per batch entry shaped `[B, 1, 1]` to meet chunks."""
        columns = (getattr(self, field.name)[index] for field in fields(self))
        if isinstance(index, int):
            return StepTable(*columns)
        return StepTable(*(column[:, None, None] for column in columns))

    def to(self, device: torch.device | str) -> StepTable:
        """The same table on another device."""
        return StepTable(*(getattr(self, field.name).to(device) for field in fields(self)))


def ddpm_table(schedule: NoiseSchedule) -> StepTable:
    """All `K` steps of DDPM (Ho et al. 2020, Eq. 7), noisiest first."""
    a, a_prev, betas = schedule.alphas_cumprod, schedule.alphas_cumprod_prev, schedule.betas
    columns = (
        torch.arange(len(betas)),
        torch.sqrt(1.0 / a),
        torch.sqrt(1.0 / a - 1),
        betas * torch.sqrt(a_prev) / (1.0 - a),
        (1.0 - a_prev) * torch.sqrt(schedule.alphas) / (1.0 - a),
        torch.sqrt(schedule.posterior_variance),
        a,
        a_prev,
        torch.zeros_like(a),
    )
    return StepTable(*(column.flip(0) for column in columns))


def ddim_table(schedule: NoiseSchedule, ddim_steps: int, eta: float) -> StepTable:
    """`ddim_steps` of the `K` steps with "leading" spacing (Song et al. 2021, Eq. 12).

    Args:
        schedule: The forward process.
        ddim_steps: Number of sampler steps, at most `K`.
        eta: Noise level: 0 is deterministic, 1 has DDPM's variance.
    """
    t = torch.arange(ddim_steps) * (len(schedule.betas) // ddim_steps)
    a = schedule.alphas_cumprod[t]
    a_prev = torch.cat([torch.ones(1), a[:-1]])
    sigma = torch.sqrt((1 - a_prev) / (1 - a) * (1 - a / a_prev))
    std = (eta * sigma).clamp(min=_MIN_DDIM_SIGMA)
    direction = torch.sqrt((1 - a_prev - std**2).clamp(min=0))
    columns = (
        t,
        torch.sqrt(1.0 / a),
        torch.sqrt(1.0 / a - 1),
        # eps recomputed from the clipped x0, `(x - √ā·x0)/√(1-ā)`, makes the mean affine in both.
        torch.sqrt(a_prev) - direction * torch.sqrt(a / (1 - a)),
        direction / torch.sqrt(1 - a),
        std,
        a,
        a_prev,
        sigma,
    )
    return StepTable(*(column.flip(0) for column in columns))


def ddim_mean_std(
    step: StepTable,
    x: Float[Tensor, "B Tp Da"],
    x0: Float[Tensor, "B Tp Da"],
    eta: Float[Tensor, "..."] | float,
    eps_clip: float | None,
) -> tuple[Float[Tensor, "B Tp Da"], Float[Tensor, "..."]]:
    """DDIM's transition where eps is clipped or the noise level `eta` is a tensor."""
    eps = (x - torch.sqrt(step.alpha_cumprod) * x0) / torch.sqrt(1 - step.alpha_cumprod)
    if eps_clip is not None:
        eps = eps.clamp(-eps_clip, eps_clip)
    std = (eta * step.sigma).clamp(min=_MIN_DDIM_SIGMA)
    direction = torch.sqrt((1 - step.alpha_cumprod_prev - std**2).clamp(min=0))
    return torch.sqrt(step.alpha_cumprod_prev) * x0 + direction * eps, std
