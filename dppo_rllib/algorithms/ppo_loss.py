"""The PPO objective over denoising steps (DPPO, Sec. 4 and App. B). Pure functions of tensors."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def clip_ranges(
    ft_denoising_steps: int, clip_param: float, clip_param_base: float, clip_param_rate: float
) -> Float[Tensor, " K_ft"]:
    """Clip range of each fine-tuned step: exponentially from `base` (noisiest) to `clip_param`.

    The authors' formula divides 0 by 0 for a single step; its range is that of the last step.
    """
    if ft_denoising_steps == 1:
        return torch.tensor([clip_param])
    progress = torch.arange(ft_denoising_steps) / (ft_denoising_steps - 1)
    growth = (torch.exp(clip_param_rate * progress) - 1) / (math.exp(clip_param_rate) - 1)
    return clip_param_base + (clip_param - clip_param_base) * growth


def denoising_discounts(ft_denoising_steps: int, gamma_denoising: float) -> Float[Tensor, " K_ft"]:
    """`gamma_denoising^k` of each fine-tuned step, `k` counting the steps still to go."""
    return gamma_denoising ** torch.arange(ft_denoising_steps - 1, -1, -1)


def normalized_advantages(
    advantages: Float[Tensor, " B"],
    *,
    normalize: bool,
    lower_quantile: float,
    upper_quantile: float,
) -> Float[Tensor, " B"]:
    """Standardises a minibatch of advantages and clamps it to two of its quantiles."""
    if normalize:
        deviation = advantages.std() if len(advantages) > 1 else torch.zeros(())
        advantages = (advantages - advantages.mean()) / (deviation + 1e-8)
    if lower_quantile > 0 or upper_quantile < 1:
        low = torch.quantile(advantages, lower_quantile)
        high = torch.quantile(advantages, upper_quantile)
        advantages = advantages.clamp(low, high)
    return advantages


class PolicyLoss(NamedTuple):
    """Per-row terms of the clipped objective."""

    loss: Float[Tensor, " B"]
    ratio: Float[Tensor, " B"]
    approx_kl: Float[Tensor, " B"]
    clipped: Float[Tensor, " B"]


def policy_loss(
    log_probs: Float[Tensor, " B"],
    old_log_probs: Float[Tensor, " B"],
    advantages: Float[Tensor, " B"],
    clip_range: Float[Tensor, " B"],
) -> PolicyLoss:
    """Clipped surrogate of PPO; KL is estimated by `(r - 1) - log r`."""
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    clipped_ratio = torch.maximum(torch.minimum(ratio, 1 + clip_range), 1 - clip_range)
    loss = torch.maximum(-advantages * ratio, -advantages * clipped_ratio)
    with torch.no_grad():
        approx_kl = (ratio - 1) - log_ratio
        clipped = ((ratio - 1).abs() > clip_range).float()
    return PolicyLoss(loss, ratio.detach(), approx_kl, clipped)


def value_loss(
    values: Float[Tensor, " B"],
    returns: Float[Tensor, " B"],
    old_values: Float[Tensor, " B"],
    vf_clip_param: float | None,
) -> Float[Tensor, " B"]:
    """Half the squared error, pessimistic around the old values if `vf_clip_param` is given."""
    errors = (values - returns).square()
    if vf_clip_param is not None:
        near = old_values + (values - old_values).clamp(-vf_clip_param, vf_clip_param)
        errors = torch.maximum(errors, (near - returns).square())
    return 0.5 * errors
