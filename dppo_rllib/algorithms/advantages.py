"""Generalised advantage estimation over chunk steps."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def generalized_advantages(
    reward: Float[Tensor, "T N"],
    values: Float[Tensor, "T N"],
    next_values: Float[Tensor, "T N"],
    terminated: Bool[Tensor, "T N"],
    truncated: Bool[Tensor, "T N"],
    *,
    gamma: float,
    lambda_: float,
) -> Float[Tensor, "T N"]:
    """GAE (Schulman et al. 2016, Eq. 16), one step per action chunk.

    A terminated chunk has no value after it; a truncated one has the value of its episode's last
    observation; at either the estimate is cut, so that no advantage crosses episodes.

    Args:
        reward: Sum over each chunk.
        values: `V(s_t)`.
        next_values: `V` of the observation that follows the chunk within its own episode.
        terminated: The episode ended.
        truncated: The episode was cut.
        gamma: Discount per chunk.
        lambda_: Trace decay per chunk.
    """
    deltas = reward + gamma * next_values * ~terminated - values
    decay = gamma * lambda_ * (~(terminated | truncated)).to(deltas.dtype)
    advantages = torch.empty_like(deltas)
    running = torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        running = advantages[t] = deltas[t] + decay[t] * running
    return advantages
