"""From trajectories to training data: rewards scaled, values, advantages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dppo_rllib.algorithms.advantages import generalized_advantages
from dppo_rllib.algorithms.iteration_data import (
    EnvironmentLayout,
    IterationData,
    flatten_rows,
    to_device,
)
from dppo_rllib.algorithms.reward_scaling import RunningRewardScaler
from dppo_rllib.rollouts.trajectories import Trajectories

# From observations, chains and `EnvironmentLayout.own_rows` to observations and log-probabilities.
Rescore = Callable[[dict[str, Tensor], Tensor, np.ndarray], tuple[dict[str, Tensor], Tensor]]


def prepare_iteration(
    trajectories: Trajectories,
    values_of: Callable[[dict[str, Tensor]], Tensor],
    scaler: RunningRewardScaler,
    config: Any,
    device: torch.device,
    rescore: Rescore | None = None,
) -> tuple[IterationData, dict[str, float]]:
    """Moves one iteration to the device once, and computes what its epochs need.

    Args:
        trajectories: This learner's share.
        values_of: The critic, from observations `{key: [B, To, …]}` to values `[B]`.
        scaler: Running reward scaling; it takes the rewards of all learners in.
        config: A `DPPOConfig`.
        device: The learner's.
        rescore: Scores chains anew, possibly on other pictures; None keeps both as sampled.

    Returns:
        The data, and figures about it for the log.
    """
    layout = EnvironmentLayout.of(trajectories.env_ids)
    reward = to_device(scaled_rewards(trajectories, layout, scaler, config), device)
    rows = flatten_rows(trajectories, device)
    obs = {k.removeprefix("obs."): v for k, v in rows.items() if k.startswith("obs.")}
    log_probs = rows["log_probs"]
    if rescore is not None:
        obs, log_probs = rescore(obs, rows["chains"], layout.own_rows(trajectories.num_chunk_steps))
    values = values_of(obs).view(reward.shape)
    advantages = generalized_advantages(
        reward,
        values,
        _next_values(trajectories, values, values_of),
        to_device(trajectories.terminated, device),
        to_device(trajectories.truncated, device),
        gamma=config.gamma,
        lambda_=config.lambda_,
    )
    returns = advantages + values
    everyone, own_row = [advantages, returns, values], None
    if not np.array_equal(layout.own, np.arange(len(layout.env_ids))):
        own_row = to_device(layout.own_rows(trajectories.num_chunk_steps), device)
        everyone = [to_device(layout.gather(c.cpu().numpy()), device) for c in everyone]
    data = IterationData(
        obs=obs,
        chains=rows["chains"],
        log_probs=log_probs,
        values=values.flatten(),
        returns=returns.flatten(),
        advantages=everyone[0].flatten(),
        own_row=own_row,
    )
    scale = {"reward_scale": scaler.scale} if config.reward_scale_running else {}
    return data, _figures(*everyone) | scale


def scaled_rewards(
    trajectories: Trajectories,
    layout: EnvironmentLayout,
    scaler: RunningRewardScaler,
    config: Any,
) -> Float[np.ndarray, "T N"]:
    """Own rewards, scaled with the statistics of all environments; float32."""
    reward = trajectories.reward.astype(np.float64)
    if config.reward_scale_running:
        everyone, first = layout.gather(reward), layout.gather(trajectories.is_first)
        reward = scaler(everyone, first, layout.env_ids)[:, layout.own]
    return (reward * config.reward_scale_const).astype(np.float32)


def _next_values(
    trajectories: Trajectories,
    values: Float[Tensor, "T N"],
    values_of: Callable[[dict[str, Tensor]], Tensor],
) -> Float[Tensor, "T N"]:
    """Value after each chunk, within its own episode: of the last observation where truncated."""
    device = values.device
    after = {k: to_device(v, device) for k, v in trajectories.next_obs.items()}
    next_values = torch.cat([values[1:], values_of(after)[None]])
    if len(trajectories.final_index):
        final = {k: to_device(v, device) for k, v in trajectories.final_obs.items()}
        t, n = to_device(trajectories.final_index, device).unbind(1)
        next_values[t, n] = values_of(final)
    return next_values


def _figures(
    advantages: Float[Tensor, "T N"],
    returns: Float[Tensor, "T N"],
    values: Float[Tensor, "T N"],
) -> dict[str, float]:
    unexplained = (returns - values).var() / (returns.var() + 1e-8)
    return {
        "advantage_mean": float(advantages.mean()),
        "advantage_std": float(advantages.std()),
        "value_mean": float(values.mean()),
        "return_mean": float(returns.mean()),
        "vf_explained_var": float(1 - unexplained),
    }
