"""What is trained and recorded where a benchmark's demonstrations cannot be had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import gymnasium as gym

_POSITIVE_FIELDS = (
    *("episodes", "max_env_steps", "num_policies", "check_interval", "check_episodes"),
    *("num_envs", "reward_scale", "batch_size", "lr"),
)


@dataclass(frozen=True)
class BehaviourSpec:
    """What to train and to record for one data set.

    Attributes:
        env: Gymnasium id.
        task: What the episodes show, in words; goes into the data set.
        return_range: A policy is kept where its mean return, with the noise it records with, is
            between these two.
        episodes: Episodes to record, over all policies.
        max_env_steps: Training budget; running out of it is an error.
        num_policies: Policies to keep.
        noise_scale: The policy's standard deviation is multiplied by this in recording. PPO
            explores with far more noise than demonstrations should show.
        check_interval: PPO iterations between two trials of the policy.
        check_episodes: Episodes of a trial.
        env_kwargs: Arguments of `gymnasium.make`.
        num_envs: Environments stepped together, in training and in recording.
        reward_scale: Rewards are multiplied by this for training (never in the data), so that
            values are near 1 and a fresh critic can follow them.
        hidden_sizes: Widths of the tanh MLPs of actor and critic.
        batch_size: Environment steps in one PPO iteration.
        lr: Adam's learning rate.
    """

    env: str
    task: str
    return_range: tuple[float, float]
    episodes: int
    max_env_steps: int
    num_policies: int = 4
    noise_scale: float = 0.4
    check_interval: int = 10
    check_episodes: int = 32
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    num_envs: int = 16
    reward_scale: float = 0.05
    hidden_sizes: tuple[int, ...] = (64, 64)
    batch_size: int = 2048
    lr: float = 3e-4

    def __post_init__(self) -> None:
        low, high = self.return_range
        if not low < high:
            raise ValueError(f"return_range = {self.return_range}: the first must be the smaller")
        if self.noise_scale < 0:
            raise ValueError(f"noise_scale = {self.noise_scale}: must not be negative")
        for name in _POSITIVE_FIELDS:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} = {getattr(self, name)}: must be positive")

    def make_env(self) -> gym.Env:
        """Build one environment, as it is recorded."""
        return gym.make(self.env, **self.env_kwargs)


BEHAVIOURS: Mapping[str, BehaviourSpec] = MappingProxyType(
    {
        "hopper-medium": BehaviourSpec(
            env="Hopper-v5",
            task="Hop forward as fast as possible.",
            return_range=(1250.0, 2500.0),
            episodes=284,
            max_env_steps=1_000_000,
        ),
        "walker2d-medium": BehaviourSpec(
            env="Walker2d-v5",
            task="Walk forward as fast as possible.",
            return_range=(1250.0, 2750.0),
            episodes=200,
            max_env_steps=3_000_000,
        ),
        # It never falls: each of its episodes has 1,000 steps, and returns differ little.
        "halfcheetah-medium": BehaviourSpec(
            env="HalfCheetah-v5",
            task="Run forward as fast as possible.",
            return_range=(1500.0, 3000.0),
            episodes=120,
            max_env_steps=3_000_000,
            check_interval=20,
            check_episodes=8,
        ),
    }
)
