"""Evaluating a policy on disk: its environment is built from what the checkpoint says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium

from dppo_rllib.checkpoints.policy_checkpoint import PolicyCheckpoint
from dppo_rllib.environments import ChunkedVectorEnv, make_chunked_env
from dppo_rllib.modules.chunk_module import SHAPES, shapes_of
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.rollouts.evaluation import EpisodeResults, policy_act, run_episodes

MODES = ("deterministic", "stochastic")


def make_env(
    checkpoint: PolicyCheckpoint,
    num_envs: int,
    *,
    env: str | Callable[..., gymnasium.Env] | None = None,
    env_config: Mapping[str, Any] | None = None,
    max_episode_steps: int | None = None,
    render_mode: str | None = None,
) -> ChunkedVectorEnv:
    """The environments that a policy belongs to, with its chunks and its normalisation.

    Args:
        checkpoint: The policy.
        num_envs: How many.
        env: Another environment than the checkpoint's; the next two then come with it.
        env_config: Arguments of `env`.
        max_episode_steps: Cuts episodes of `env`.
        render_mode: See `make_chunked_env`.

    Raises:
        ValueError: The checkpoint does not say which environment, the environment cannot be
            built, or does not fit the policy.
    """
    known: Mapping[str, Any] = checkpoint.env or {}
    if env is None:
        if not known:
            raise ValueError(
                "env=None: the checkpoint does not name its environment (it was a Python object); "
                "name a task or an environment"
            )
        env, env_config = known["id"], known["config"]
        max_episode_steps = known["max_episode_steps"]
    policy = checkpoint.config
    try:
        envs = make_chunked_env(
            env,
            num_envs,
            act_steps=policy.act_steps,
            cond_steps=policy.cond_steps,
            img_cond_steps=policy.vision.img_cond_steps if policy.vision else 1,
            normalization=checkpoint.normalization,
            env_kwargs=dict(env_config or {}),
            max_episode_steps=max_episode_steps,
            render_mode=render_mode,
        )
    except (gymnasium.error.Error, ImportError) as error:
        raise ValueError(f"env={env}: cannot be built ({error})") from error
    shapes = shapes_of(envs.single_observation_space, envs.single_action_space)
    for name, given in shapes.items():
        if given != (expected := getattr(policy, name)):
            envs.close()
            raise ValueError(f"env={env}: {SHAPES[name]} {given}, but the policy has {expected}")
    return envs


def evaluate_policy(
    checkpoint: PolicyCheckpoint,
    env: ChunkedVectorEnv,
    num_episodes: int,
    *,
    seed: int = 0,
    on_step: Callable[[str, int], None] | None = None,
) -> dict[str, EpisodeResults]:
    """Runs whole episodes greedily, and as many with the noise that training explores with.

    Args:
        checkpoint: The policy.
        env: From `make_env`.
        num_episodes: Of each kind.
        seed: Of environments and noise; the same for both kinds.
        on_step: Told the kind and its number of finished episodes after every chunk.

    Returns:
        Results by kind: "deterministic", "stochastic".
    """
    policy = checkpoint.build()
    results = {}
    for mode in MODES:

        def report(finished: int, mode: str = mode) -> None:
            if on_step is not None:
                on_step(mode, finished)

        act = policy_act(policy, deterministic=mode == "deterministic", seed=seed)
        with torch_threads(1):  # small batches gain nothing from more
            results[mode] = run_episodes(env, act, num_episodes, seed=seed, on_step=report)
    return results
