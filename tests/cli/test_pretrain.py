"""`dppo pretrain` in miniature, and what it leaves for `dppo finetune`."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.datasets import Demonstrations, write_demonstrations

EPISODES, STEPS = 6, 8
SMALL = {
    "horizon_steps": 2,
    "act_steps": 2,
    "denoising_steps": 4,
    "network.mlp_dims": [16, 16, 16],
    "network.time_dim": 8,
    "minibatch_size": 16,
    "validation_fraction": 0.2,
}


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    frames = EPISODES * STEPS
    ends = np.zeros(frames, bool)
    ends[STEPS - 1 :: STEPS] = True
    observations = rng.uniform(-1, 1, (frames, 2)).astype(np.float32)
    demos = Demonstrations(
        observations=observations,
        actions=np.clip(-observations, -1, 1),
        rewards=np.zeros(frames, np.float32),
        terminated=np.zeros(frames, bool),
        truncated=ends,
        episode_lengths=np.full(EPISODES, STEPS, np.int64),
        fps=10.0,
        task="reach",
    )
    return write_demonstrations(demos, tmp_path_factory.mktemp("data") / "reach")


@pytest.fixture(scope="module")
def run(
    dppo: Any, demonstrations: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    output = tmp_path_factory.mktemp("runs") / "pretrain"
    settings = SMALL | {"dataset": str(demonstrations)}
    arguments = [part for k, v in settings.items() for part in ("--set", f"{k}={v}")]
    options = ["--epochs", 3, "--episodes", 4, "--learners", 0, "--no-video", "--output", output]
    result = dppo("pretrain", "reach", *options, *arguments)
    assert result.exit_code == 0, result.output
    return output, result.output


def test_the_run_leaves_a_policy_with_the_normalization_of_its_data(
    run: tuple[Path, str], demonstrations: Path
) -> None:
    output, text = run
    assert "epoch 3/3" in text
    policy = load_policy(output / "policy")
    assert (policy.task, policy.config.network.mlp_dims) == ("reach", (16, 16, 16))
    stats = json.loads((demonstrations / "meta" / "stats.json").read_text())
    assert policy.normalization is not None
    np.testing.assert_allclose(
        policy.normalization.obs_min, stats["observation.state"]["min"], rtol=1e-6
    )
    assert len((output / "metrics.csv").read_text().splitlines()) == 4
    summary = json.loads((output / "summary.json").read_text())
    assert summary["after"]["stochastic"]["episodes"] == 4


@pytest.mark.slow
def test_its_policy_can_be_fine_tuned(run: tuple[Path, str], dppo: Any, tmp_path: Path) -> None:
    options = ["--episodes", 4, "--runners", 0, "--learners", 0, "--iterations", 1, "--no-video"]
    result = dppo("finetune", "reach", "--from", run[0], *options, "--output", tmp_path / "run")
    assert result.exit_code == 0, result.output
    base = load_policy(run[0] / "policy").component("actor")
    kept = load_policy(tmp_path / "run" / "policy").component("actor")
    assert all((kept[name] == weight).all() for name, weight in base.items())


def test_demonstrations_of_other_dimensions_are_refused_before_anything_starts(
    dppo: Any, demonstrations: Path, tmp_path: Path
) -> None:
    setting = ["--set", f"dataset={demonstrations}"]
    result = dppo("pretrain", "hopper-medium", *setting, "--output", tmp_path / "run")
    assert result.exit_code == 2
    message = " ".join(result.stderr.split())
    assert "obs_dim=2, but task hopper-medium has 11" in message
    assert not (tmp_path / "run").exists()
