"""Three iterations of the authors' configurations, and the bytes that travel in them.

Sizes follow from shapes and networks; tests compare them with the real objects.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from benchmarks import policies
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.modules.diffusion_policy import DiffusionPolicyConfig
from dppo_rllib.networks import Critic, CriticConfig

FLOAT = 4  # bytes
# Of a chunk step, besides observations and chains: reward, three flags, executed steps (int64).
STEP_BYTES = FLOAT + 3 + 8
# What learners tell each other of a chunk step: reward (float64), whether it is the first of its
# episode, and advantage, return and value. Each comes with the numbers of the environments, which
# are also exchanged once by themselves (int64).
EXCHANGED, EXCHANGES = 8 + 1 + 3 * FLOAT, 1 + 5


@dataclass(frozen=True)
class Workload:
    """What an iteration is made of.

    Attributes:
        name: In words.
        label: Its row in the table of `benchmarks.policies`, whose policy it is.
        critic: Value network.
        envs: Environments, over all runners.
        chunk_steps: Of each environment and iteration.
        minibatch: Pairs of chunk step and denoising step between two steps of the optimizer.
        epochs: Passes over all pairs.
        episode: Chunk steps after which an episode is cut.
        whole_episodes: All environments restart with each iteration, which cannot be shorter then.
        augment: Pictures are shifted, and chains scored anew.
        simulator: Environment steps per second of one core; None if this package has it.
    """

    name: str
    label: str
    critic: CriticConfig
    envs: int
    chunk_steps: int
    minibatch: int
    epochs: int
    episode: int
    whole_episodes: bool = False
    augment: bool = False
    simulator: float | None = None

    @cached_property
    def policy(self) -> DiffusionPolicyConfig:
        """The authors' policy."""
        [row] = [row for row in policies.all_rows() if row.label == self.label]
        return row.config

    @property
    def rows(self) -> int:
        """Chunk steps of all environments."""
        return self.envs * self.chunk_steps

    @property
    def share(self) -> float:
        """Of an iteration's pairs that are in one minibatch."""
        return self.minibatch / (self.rows * self.policy.ft_denoising_steps)

    @cached_property
    def sizes(self) -> Sizes:
        """Its bytes."""
        return Sizes.of(self.policy, self.critic)


WORKLOADS = (
    Workload(
        name="Hopper",
        label="Hopper, MLP 3 × 512, DDPM 20, K' 10",
        critic=CriticConfig(),
        envs=40,
        chunk_steps=500,
        minibatch=50_000,
        epochs=5,
        episode=250,
    ),
    Workload(
        name="Robomimic Can, pictures",
        label="Can, pictures, MLP 3 × 512, ViT, DDIM 5 of 100, K' 5",
        critic=CriticConfig(),
        envs=50,
        chunk_steps=300,
        minibatch=500 * 15,  # `batch_size` times `grad_accumulate`
        epochs=10,
        episode=75,
        augment=True,
        simulator=50,
    ),
    Workload(
        name="Furniture-Bench One-leg",
        label="One-leg, U-Net 64, 128, 256, DDIM 5 of 100, K' 5",
        critic=CriticConfig(mlp_dims=(512, 512, 512)),
        envs=1000,
        chunk_steps=88,
        minibatch=30_000,
        epochs=5,
        episode=88,
        whole_episodes=True,
        simulator=50,
    ),
)


# --- Bytes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Bytes of what travels.

    Attributes:
        observation: An observation history.
        chunk_step: All that is kept of a chunk step of one environment.
        weights: What a runner gets for an iteration.
        gradients: What learners sum in each minibatch, statistics included.
    """

    observation: int
    chunk_step: int
    weights: int
    gradients: int

    @classmethod
    def of(cls, policy: DiffusionPolicyConfig, critic: CriticConfig) -> Sizes:
        """From shapes and networks, of which nothing is allocated."""
        with torch.device("meta"):
            actor, value = policy.build_network(), Critic(critic, policy.observation_spec)
            statistics = MinibatchStatistics(policy.ft_denoising_steps, torch.device("meta"))
        trained = sum(p.numel() for network in (actor, value) for p in network.parameters())
        state = sum(tensor.nbytes for tensor in actor.state_dict().values())
        observation = FLOAT * policy.cond_steps * policy.obs_dim
        if policy.image_shape is not None and policy.vision is not None:
            observation += policy.vision.img_cond_steps * math.prod(policy.image_shape)
        chunk, steps = policy.horizon_steps * policy.action_dim, policy.ft_denoising_steps
        return cls(
            observation=observation,
            chunk_step=observation + FLOAT * (chunk * (steps + 1) + steps) + STEP_BYTES,
            weights=state + 2 * 8,  # and two annealed values
            gradients=FLOAT * (trained + statistics.sums.numel()),
        )

    def trajectories(self, envs: int, chunk_steps: int, truncated: float) -> float:
        """Trajectories of some environments, with so many episodes cut in them."""
        last = envs * (self.observation + 8) + truncated * (self.observation + 2 * 8)
        return envs * chunk_steps * self.chunk_step + last


def exchanged_bytes(envs: int, chunk_steps: int) -> int:
    """What all learners together tell the others to prepare an iteration, if there are several."""
    return envs * chunk_steps * EXCHANGED + envs * EXCHANGES * 8
