"""From an algorithm's configuration to its environments."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext
from ray.tune.registry import ENV_CREATOR, _global_registry

from dppo_rllib.environments import ChunkedVectorEnv, Normalization, make_chunked_env

_VECTORIZATIONS = {
    gymnasium.VectorizeMode.SYNC: "sync",
    gymnasium.VectorizeMode.ASYNC: "async",
    gymnasium.VectorizeMode.VECTOR_ENTRY_POINT: "auto",
}


def make_configured_env(
    config: AlgorithmConfig, context: EnvContext, device: torch.device | None = None
) -> ChunkedVectorEnv:
    """The environments of one runner.

    Args:
        config: Of an algorithm.
        context: `config.env_config`, with the runner's number.
        device: Where observations are tensors; None for NumPy arrays.

    Raises:
        ValueError: The configuration names no environment.
    """
    creator = _creator(config, context)
    return make_chunked_env(
        creator,
        config.num_envs_per_env_runner,
        act_steps=config.act_steps,
        cond_steps=config.cond_steps,
        img_cond_steps=config.img_cond_steps,
        normalization=(
            Normalization.from_dict(config.normalization) if config.normalization else None
        ),
        env_kwargs=None if isinstance(creator, functools.partial) else dict(config.env_config),
        max_episode_steps=config.max_episode_steps,
        vectorization=_VECTORIZATIONS[gymnasium.VectorizeMode(config.gym_env_vectorize_mode)],
        device=device,
    )


def _creator(config: AlgorithmConfig, context: EnvContext) -> str | Callable[..., Any]:
    """The environment of a config as `make_chunked_env` takes it.

    Names registered with Tune become callables on RLlib's `EnvContext`; other names are
    Gymnasium ids.
    """
    env = config.env
    if env is None:
        raise ValueError("env=None: expected config.environment('<Gymnasium id>' or a callable)")
    if isinstance(env, str) and _global_registry.contains(ENV_CREATOR, env):
        return functools.partial(_global_registry.get(ENV_CREATOR, env), context)
    return env
