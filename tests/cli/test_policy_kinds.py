"""Every kind of policy from demonstrations to an evaluation, interrupted and resumed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.datasets import write_demonstrations
from dppo_rllib.datasets.collect import record_episodes
from dppo_rllib.environments import PixelReach, reach_expert

DPPO = [sys.executable, "-c", "from dppo_rllib.cli import app; app()"]
TASKS = """
import gymnasium

from dppo_rllib.environments import PixelReach
from dppo_rllib.tasks import Task, register


class StateReach(gymnasium.ObservationWrapper):
    def __init__(self):
        super().__init__(PixelReach())
        self.observation_space = self.env.observation_space["state"]

    def observation(self, observation):
        return observation["state"]


for name, env in (("pixels", PixelReach), ("states", StateReach)):
    register(
        Task(name=name, description="Reach", env=env, obs_dim=2, action_dim=2, num_envs=4,
             max_episode_steps=25, dataset={dataset!r}, rollout_fragment_length=150)
    )
"""
MLP = {"mlp_dims": [16, 16, 16]}
CHUNK = {"horizon_steps": 4, "act_steps": 2, "minibatch_size": 64, "validation_fraction": 0.2}
DENOISER = {"network": {**MLP, "time_dim": 8}, "denoising_steps": 4}
UNET = {"type": "unet", "dim": 8, "dim_mults": [1, 2], "n_groups": 4}
VISION = {"embed_dim": 8, "num_heads": 2, "spatial_emb": 4, "embed_style": "embed1"}
FEW_STEPS = {"ft_denoising_steps": 2, "num_epochs": 1}
# By name: kind of the clone, settings of cloning, algorithm, settings of fine-tuning.
KINDS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "unet": (
        "diffusion",
        {"network": UNET, "denoising_steps": 8, "ddim_steps": 4},
        "DPPO",
        FEW_STEPS | {"learned_eta": {"kind": "state", "mlp_dims": [8]}},
    ),
    "pictures": (
        "diffusion",
        DENOISER | {"vision": VISION, "augment": True},
        "DPPO",
        FEW_STEPS | {"augment": True},
    ),
    "exact": ("diffusion", DENOISER, "ExactDPPO", FEW_STEPS | {"likelihood.step_size": 0.25}),
    "gaussian": ("gaussian", {"network": MLP}, "GaussianPPO", {"num_epochs": 1}),
    "gmm": ("gmm", {"network": MLP | {"num_modes": 2}}, "GMMPPO", {"num_epochs": 1}),
    "transformer": (
        "gaussian",
        {"network": {"type": "transformer", "embed_dim": 8, "num_heads": 2, "num_layers": 1}},
        "GaussianPPO",
        {"num_epochs": 1},
    ),
}


@pytest.fixture(scope="module")
def task_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pixels")
    data = record_episodes(PixelReach, reach_expert(2.0), episodes=60, num_envs=4)
    dataset = write_demonstrations(data, root / "data")
    (root / "task.py").write_text(TASKS.format(dataset=str(dataset)))
    return root / "task.py"


def options(settings: dict[str, Any]) -> list[str]:
    return [part for k, v in settings.items() for part in ("--set", f"{k}={json.dumps(v)}")]


def run(*arguments: Any) -> str:
    done = subprocess.run([*DPPO, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_policy_is_cloned_fine_tuned_interrupted_resumed_and_evaluated(
    name: str, task_file: Path, tmp_path: Path
) -> None:
    kind, cloning, algorithm, training = KINDS[name]
    task = "pixels" if "vision" in cloning else "states"
    tasks, output, log = ["--tasks-from", task_file], tmp_path / "run", tmp_path / "log"
    common = ["--episodes", 4, "--no-video"]
    clone = [*tasks, "pretrain", task, "--policy", kind, "--epochs", 2, *common]
    run(*clone, "--output", tmp_path / "clone", *options(CHUNK | cloning))

    start = [*tasks, "finetune", task, "--from", tmp_path / "clone", "--algorithm", algorithm]
    start += ["--iterations", 5, "--runners", 1, *common, "--output", output, *options(training)]
    with log.open("w") as file:
        process = subprocess.Popen([*DPPO, *map(str, start)], stdout=file, stderr=file)
        deadline = time.monotonic() + 180
        while "iteration 1/5" not in log.read_text() and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(120) == 130, log.read_text()
    run(*tasks, "finetune", "--resume", output)
    assert json.loads((output / "summary.json").read_text())["iterations"] == 5

    assert load_policy(output).config.fine_tuned
    run(*tasks, "eval", output, "--episodes", 4, "--json", tmp_path / "eval.json")
    result = json.loads((tmp_path / "eval.json").read_text())
    assert result["stochastic"]["episodes"] == 4
