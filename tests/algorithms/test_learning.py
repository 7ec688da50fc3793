"""Every algorithm learns, in seconds, what demonstrations leave open; with a wrong sign none does.

`TwoModes` pays on both sides, but better on the right; in `ShownMode` a picture shows which side
pays. Success is to end on the better one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import ray
import torch
from two_modes import EPISODE_STEPS, ShownMode, TwoModes, demonstrations, shown_demonstrations

from dppo_rllib import (
    DiffusionBCConfig,
    DPPOConfig,
    ExactDPPOConfig,
    GaussianBCConfig,
    GaussianPPOConfig,
    GMMBCConfig,
    GMMPPOConfig,
)
from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner
from dppo_rllib.datasets import write_demonstrations

CHUNK = {"horizon_steps": EPISODE_STEPS, "act_steps": EPISODE_STEPS}
MLP = {"mlp_dims": (64, 64, 64)}
DENOISER = {"network": MLP | {"time_dim": 8}, "denoising_steps": 10}
VISION = {"embed_dim": 16, "num_heads": 2, "spatial_emb": 8, "embed_style": "embed1"}


class AscentLearner(ChunkPPOLearner):
    """PPO with the sign of the advantage flipped."""

    def _prepare(self, trajectories: Any) -> Any:
        data = super()._prepare(trajectories)
        data.advantages.neg_()
        return data


@dataclass(frozen=True)
class Case:
    """An algorithm, the policy it starts from (a name in `CLONES`), and how far it must get."""

    config: Callable[[], Any]
    clone: str | None
    iterations: int
    success: float
    training: dict[str, Any] = field(default_factory=dict)
    env: type = TwoModes


# By name: configuration, epochs, what differs from the defaults, demonstrations.
CLONES: dict[str, tuple[Callable[[], Any], int, dict[str, Any], Callable[[int], Any]]] = {
    "diffusion": (DiffusionBCConfig, 100, DENOISER, demonstrations),
    "pictures": (DiffusionBCConfig, 60, DENOISER | {"vision": VISION}, shown_demonstrations),
    "mixture": (GMMBCConfig, 60, {"network": MLP | {"num_modes": 3}}, demonstrations),
}
PPO_STEPS = {"clip_param_base": 0.1, "ft_denoising_steps": 5}
CASES = {
    "DPPO": Case(DPPOConfig, "diffusion", 12, 0.85, PPO_STEPS),
    "DPPO from pictures": Case(DPPOConfig, "pictures", 10, 0.8, PPO_STEPS, ShownMode),
    "DPPO from scratch": Case(
        DPPOConfig,
        None,
        12,
        0.85,
        {**CHUNK, **DENOISER, "ft_denoising_steps": 10, "clip_param_base": 0.1},
    ),
    "ExactDPPO": Case(
        ExactDPPOConfig,
        "diffusion",
        14,
        0.7,
        {"ft_denoising_steps": 5, "likelihood": {"step_size": 0.1}},
    ),
    "GaussianPPO": Case(GaussianPPOConfig, None, 8, 0.85, {"network": MLP, **CHUNK}),
    "GMMPPO": Case(GMMPPOConfig, "mixture", 10, 0.85),
}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ray.init(address="local", num_cpus=2, include_dashboard=False, ignore_reinit_error=True)
    yield
    ray.shutdown()
    torch.set_num_threads(threads)


def clone(config: Any, epochs: int, data: Any, root: Path, **training: Any) -> list[float]:
    """Clones demonstrations into `root / "checkpoint"`; validation losses."""
    write_demonstrations(data, root / "data")
    algo = (
        config.training(dataset=root / "data", minibatch_size=64, lr_cycle_epochs=300, **training)
        .debugging(seed=0)
        .build_algo()
    )
    losses = [algo.train()["learners"]["default_policy"]["validation_loss"] for _ in range(epochs)]
    algo.save_to_path(str(root / "checkpoint"))
    algo.stop()
    return losses


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Policies cloned from two-sided demonstrations, each made when it is first asked for."""
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            root = tmp_path_factory.mktemp(name)
            config, epochs, training, demonstrate = CLONES[name]
            losses = clone(config(), epochs, demonstrate(512), root, **CHUNK, **training)
            assert losses[-1] < losses[0]
            made[name] = root / "checkpoint"
        return made[name]

    return get


def train(case: Case, policy: Path | None, learner_class: Any, iterations: int) -> list[float]:
    """Success rate of each iteration's episodes."""
    start = {} if policy is None else {"base_policy": policy}
    config = (
        case.config()
        .training(
            **start,
            minibatch_size=1000,
            num_epochs=4,
            clip_param=0.1,
            actor_lr=3e-4,
            actor_min_lr=3e-4,
            critic={"mlp_dims": (32, 32, 32)},
            **case.training,
        )
        .env_runners(num_env_runners=0, num_envs_per_env_runner=64, rollout_fragment_length=8)
        .learners(num_learners=0, learner_class=learner_class)
        .debugging(seed=0)
    )
    config.environment(case.env)
    config.metrics_num_episodes_for_smoothing = 512
    algo = config.build_algo()
    rates = [algo.train()["env_runners"]["success_rate"] for _ in range(iterations)]
    algo.stop()
    return rates


# Of every algorithm once; what it learns from otherwise is for the slow tests.
VARIANTS = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith("DPPO from") else [])
        for name in CASES
    ],
)


@VARIANTS
def test_the_policy_moves_to_the_better_mode(name: str, clones: Callable[[str], Path]) -> None:
    case = CASES[name]
    policy = None if case.clone is None else clones(case.clone)
    rates = train(case, policy, ChunkPPOLearner, case.iterations)
    assert rates[-1] > case.success
    assert rates[0] < 0.7


@VARIANTS
def test_a_flipped_advantage_moves_it_away(name: str, clones: Callable[[str], Path]) -> None:
    case = CASES[name]
    policy = None if case.clone is None else clones(case.clone)
    rates = train(case, policy, AscentLearner, case.iterations)
    assert rates[-1] < 0.25


@pytest.mark.parametrize("name", ["diffusion", "mixture"])
def test_a_clone_keeps_both_modes(name: str, clones: Callable[[str], Path]) -> None:
    case = next(case for case in CASES.values() if case.clone == name)
    assert 0.2 < train(case, clones(name), ChunkPPOLearner, 1)[0] < 0.7


def test_a_gaussian_clone_goes_to_the_middle(tmp_path: Path) -> None:
    data = demonstrations(256)
    clone(GaussianBCConfig(), 30, data, tmp_path, network=MLP, lr=3e-3, **CHUNK)
    case = Case(GaussianPPOConfig, None, 1, 0.0)
    assert train(case, tmp_path / "checkpoint", ChunkPPOLearner, 1) == [0.0]
