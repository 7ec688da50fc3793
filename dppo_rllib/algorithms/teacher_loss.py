"""The optional regularisation of fine-tuning: stay close to the frozen policy."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dppo_rllib.modules.policy import ChunkPolicy


def teacher_loss(
    policy: ChunkPolicy, obs: dict[str, Tensor], noise: Float[Tensor, "draws B ..."]
) -> Float[Tensor, " B"]:
    """Negative log-probability of the base policy's own chains (DPPO, App. C).

    Args:
        policy: Base and fine-tuned network; the latter gets the gradient.
        obs: Observation histories `{key: [B, To, …]}`.
        noise: Of the base policy's sampling.
    """
    rows, steps = len(obs["state"]), policy.chain_steps
    with torch.no_grad():
        chain = policy.sample(obs, noise=noise, base_only=True, score=False).x
    log_probs = policy.log_prob(
        {k: v.repeat_interleave(steps, dim=0) for k, v in policy.encode(obs).items()},
        chain[:, :-1].flatten(0, 1),
        chain[:, 1:].flatten(0, 1),
        torch.arange(steps, device=chain.device).repeat(rows),
    )
    return -log_probs.view(rows, steps).mean(dim=1)
