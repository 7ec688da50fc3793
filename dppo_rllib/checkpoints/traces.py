"""What policies do, step by step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from dppo_rllib.checkpoints.evaluation import make_env
from dppo_rllib.checkpoints.policy_checkpoint import PolicyCheckpoint
from dppo_rllib.environments.chunked import normalized_states
from dppo_rllib.environments.observation_spaces import STATE
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.rollouts.evaluation import policy_act


def trace_episodes(
    checkpoint: PolicyCheckpoint,
    num_episodes: int,
    *,
    deterministic: bool,
    seed: int = 0,
    **env: Any,
) -> list[Float32[np.ndarray, "T Do"]]:
    """Runs whole episodes and returns the states of each: the first, and one for every step.

    Args:
        checkpoint: The policy.
        num_episodes: How many, one in each environment.
        deterministic: Greedily, or with the noise that training explores with.
        seed: Of environments and noise.
        **env: Another environment than the checkpoint's; see `make_env`.

    Raises:
        ValueError: See `make_env`.
    """
    policy, known = checkpoint.config, checkpoint.normalization
    # Histories long enough to hold every step of a chunk, in the simulator's own units.
    length = max(policy.cond_steps, policy.act_steps)
    raw = None if known is None else replace(known, obs_min=None, obs_max=None)
    config = replace(policy, cond_steps=length)
    envs = make_env(replace(checkpoint, config=config, normalization=raw), num_episodes, **env)
    act = policy_act(checkpoint.build(), deterministic=deterministic, seed=seed)
    try:
        obs, _ = envs.reset(seed=seed)
        traces = [[first] for first in obs[STATE][:, -1]]
        running = np.ones(num_episodes, bool)
        with torch_threads(1):  # small batches gain nothing from more
            while running.any():
                state = obs[STATE][:, length - policy.cond_steps :]
                if known is not None:
                    state = normalized_states(state, known, envs.metadata)
                seen = {**obs, STATE: state}
                obs, _, terminated, truncated, infos = envs.step(act(seen))
                for i in np.flatnonzero(running):
                    executed = infos["env_steps"][i]
                    traces[i].extend(infos["final_obs"][STATE][i, length - executed :])
                running &= ~(terminated | truncated)
    finally:
        envs.close()
    return [np.array(trace) for trace in traces]
