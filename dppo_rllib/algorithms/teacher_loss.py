"""The optional regularisation of fine-tuning: stay close to the frozen policy."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dppo_rllib.modules.policy import ChunkPolicy, Encoded


def teacher_loss(
    policy: ChunkPolicy,
    obs: dict[str, Tensor],
    rows: Int[Tensor, " B"],
    encoded: Encoded,
    noise: Float[Tensor, "draws B ..."],
) -> Float[Tensor, " B"]:
    """Negative log-probability of the base policy's own chains (DPPO, App. C).

    Args:
        policy: Base and fine-tuned network; the latter gets the gradient.
        obs: Observation histories `{key: [D, To, …]}`.
        rows: Which of them each chain is for.
        encoded: What the policy makes of them, a row per chain.
        noise: Of the base policy's sampling.
    """
    steps = policy.chain_steps
    chain = policy.base_chains(obs, rows, noise)
    log_probs = policy.log_prob(
        {k: v.repeat_interleave(steps, dim=0) for k, v in encoded.items()},
        chain[:, :-1].flatten(0, 1),
        chain[:, 1:].flatten(0, 1),
        torch.arange(steps, device=chain.device).repeat(len(rows)),
    )
    return -log_probs.view(len(rows), steps).mean(dim=1)
