"""DPPO learns, in seconds, what the demonstrations leave open; with a wrong sign it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from two_modes import EPISODE_STEPS, TwoModes, demonstrations

from dppo_rllib import DiffusionBCConfig, DPPOConfig
from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner
from dppo_rllib.datasets import write_demonstrations

NETWORK = {"mlp_dims": (64, 64, 64), "time_dim": 8}
CHUNK = {"horizon_steps": EPISODE_STEPS, "act_steps": EPISODE_STEPS, "denoising_steps": 10}
ITERATIONS = 12


class AscentLearner(ChunkPPOLearner):
    """DPPO with the sign of the advantage flipped."""

    def _prepare(self, trajectories: Any) -> Any:
        data = super()._prepare(trajectories)
        data.advantages.neg_()
        return data


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ray.init(num_cpus=2, include_dashboard=False, ignore_reinit_error=True)
    yield
    ray.shutdown()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A diffusion policy cloned from the two-sided demonstrations."""
    root = tmp_path_factory.mktemp("two_modes")
    write_demonstrations(demonstrations(1024), root / "data")
    algo = (
        DiffusionBCConfig()
        .training(
            dataset=root / "data",
            network=NETWORK,
            minibatch_size=64,
            lr_cycle_epochs=300,
            ema_start_epoch=20,
            **CHUNK,
        )
        .debugging(seed=0)
        .build_algo()
    )
    losses = [algo.train()["learners"]["default_policy"]["validation_loss"] for _ in range(150)]
    assert losses[-1] < 0.6 * losses[0]
    algo.save_to_path(str(root / "checkpoint"))
    algo.stop()
    return root / "checkpoint"


def train(policy: Path, learner_class: type[ChunkPPOLearner], iterations: int) -> list[float]:
    """Success rate (ended on the rich side) of each iteration's episodes."""
    config = (
        DPPOConfig()
        .training(
            base_policy=policy,
            ft_denoising_steps=5,
            minibatch_size=1000,
            num_epochs=4,
            clip_param=0.1,
            clip_param_base=0.1,
            actor_lr=3e-4,
            actor_min_lr=3e-4,
            critic={"mlp_dims": (32, 32, 32)},
        )
        .env_runners(num_env_runners=0, num_envs_per_env_runner=64, rollout_fragment_length=8)
        .learners(num_learners=0, learner_class=learner_class)
        .debugging(seed=0)
    )
    config.environment(TwoModes)
    config.metrics_num_episodes_for_smoothing = 512
    algo = config.build_algo()
    rates = [algo.train()["env_runners"]["success_rate"] for _ in range(iterations)]
    algo.stop()
    return rates


def test_the_clone_keeps_both_modes(pretrained: Path) -> None:
    first = train(pretrained, ChunkPPOLearner, 1)[0]
    assert 0.3 < first < 0.7


def test_dppo_moves_the_policy_to_the_better_mode(pretrained: Path) -> None:
    rates = train(pretrained, ChunkPPOLearner, ITERATIONS)
    assert rates[-1] > 0.85


def test_a_flipped_advantage_moves_it_away(pretrained: Path) -> None:
    rates = train(pretrained, AscentLearner, ITERATIONS)
    assert rates[-1] < 0.25
