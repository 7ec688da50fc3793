"""The optional regularisation of fine-tuning: stay close to the frozen policy."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dppo_rllib.modules.policy import DiffusionPolicy


def teacher_loss(
    policy: DiffusionPolicy, obs: dict[str, Tensor], noise: Float[Tensor, "S_1 B Tp Da"]
) -> Float[Tensor, " B"]:
    """Negative log-probability of the base policy's own chains (DPPO, App. C).

    Args:
        policy: Base and fine-tuned network; the latter gets the gradient.
        obs: Observation histories `{key: [B, To, …]}`.
        noise: Of the base policy's sampling.
    """
    rows, steps = len(next(iter(obs.values()))), policy.ft_denoising_steps
    chain = policy.sample(obs, noise=noise, base_only=True).x
    log_probs = policy.log_prob(
        {k: v.repeat_interleave(steps, dim=0) for k, v in obs.items()},
        chain[:, :-1].flatten(0, 1),
        chain[:, 1:].flatten(0, 1),
        torch.arange(steps, device=chain.device).repeat(rows),
    )
    return -log_probs.view(rows, steps).mean(dim=1)
