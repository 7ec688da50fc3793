"""How much memory the processes of a run will need: an estimate, made before it starts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from dppo_rllib.algorithms.bc import ChunkBCConfig
from dppo_rllib.algorithms.chunk_config import ChunkConfig
from dppo_rllib.datasets import DatasetReader, local_dataset
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.modules.policies import build_policy
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.networks import Critic, CriticConfig

_FLOAT, _INDEX = 4, 8  # bytes
# Memory of a process that it shares with no other, measured with Hopper (20 environments a runner):
# main process 406 MB, runner 440 MB, learner with two threads 543 MB.
_PROCESS = 400e6  # Python with torch and RLlib
_ENVIRONMENT = 2e6
_ACTIVATIONS = 50e6  # of a learner's thread with an MLP
_MOST_ACTIVATIONS = 256e6  # with any network, see `piece_sizes`


@dataclass(frozen=True)
class Memory:
    """Bytes that a run needs at its peak.

    Attributes:
        main: The main process.
        learner: Each learner that is a process of its own.
        runner: Each environment runner that is one.
        trajectories: What an iteration leaves in the object store, over all nodes.
    """

    main: float
    learner: float
    runner: float
    trajectories: float


def expected_memory(config: ChunkConfig, policy: PolicyConfig) -> Memory:
    """Adds up networks, optimizers, data and the measured size of a process.

    What the environments themselves need beyond a simple simulator's, and what a GPU holds, is not
    in it.

    Args:
        config: What will run.
        policy: The policy with the shapes of its environment.
    """
    actor, critic, chain_steps = _sizes(config, policy)
    simple = config.network["type"] == "mlp" and config.vision is None
    activations = (_ACTIVATIONS if simple else _MOST_ACTIVATIONS) * (config.learner_threads or 1)
    learners, runners = max(1, config.num_learners), max(1, config.num_env_runners)
    if isinstance(config, ChunkBCConfig):
        root = local_dataset(config.dataset or "", metadata_only=True)
        data = 2 * DatasetReader(root).num_frames * _row_bytes(policy, 0)
        if config.dataset_memory_limit is not None:
            data = min(data, config.dataset_memory_limit)
        # Weights, their running average, gradients, and AdamW's two moments.
        work = 5 * actor + data + activations
        return Memory(_PROCESS + work * (config.num_learners == 0), _PROCESS + work, 0, 0)
    chunks = config.rollout_fragment_length * config.num_envs_per_env_runner * runners
    data = chunks * _row_bytes(policy, chain_steps)
    # The base has no gradients; pairs are numbered by one permutation and its copy.
    learning = 2 * actor + critic + 3 * (actor + critic) + 2 * data / learners
    learning += 2 * chunks * chain_steps * _INDEX + activations
    acting = 2 * actor + config.num_envs_per_env_runner * _ENVIRONMENT + data / runners
    return Memory(
        main=_PROCESS
        + 2 * actor
        + learning * (config.num_learners == 0)
        + acting * (config.num_env_runners == 0),
        learner=_PROCESS + learning,
        runner=_PROCESS + acting,
        trajectories=data * (config.num_env_runners > 0),
    )


def _sizes(config: ChunkConfig, policy: PolicyConfig) -> tuple[float, float, int]:
    """Bytes of actor and critic, and steps of a chain."""
    built = build_policy(policy)
    actor = _FLOAT * sum(p.numel() for p in built.actor.parameters())
    critic = 0
    if described := getattr(config, "critic", None):
        with torch.device("meta"):
            network = Critic(build_dataclass(CriticConfig, described), policy.observation_spec)
        critic = _FLOAT * sum(p.numel() for p in network.parameters())
    return actor, critic, built.chain_steps


def _row_bytes(policy: PolicyConfig, chain_steps: int) -> float:
    """Bytes of a chunk step: observation history, chain, log-probabilities, and a few scalars."""
    row = policy.cond_steps * policy.obs_dim * _FLOAT + 20
    if policy.image_shape is not None and policy.vision is not None:
        channels, height, width = policy.image_shape
        row += policy.vision.img_cond_steps * channels * height * width
    chunk = policy.horizon_steps * policy.action_dim * _FLOAT
    return float(row + (chain_steps + 1) * chunk + chain_steps * _FLOAT)
