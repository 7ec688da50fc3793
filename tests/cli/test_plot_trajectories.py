"""`dppo plot-trajectories`."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from dppo_rllib.checkpoints import PolicyCheckpoint, save_policy
from dppo_rllib.cli import app
from dppo_rllib.environments.avoid import ENV_ID
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig


def policy(path: Path, env: str = ENV_ID, obs_dim: int = 4) -> Path:
    config = DiffusionPolicyConfig.from_dict(
        {
            "obs_dim": obs_dim,
            "action_dim": 2,
            "horizon_steps": 4,
            "act_steps": 4,
            "denoising": {"denoising_steps": 3},
            "network": {"mlp_dims": [16, 16, 16], "time_dim": 8},
        }
    )
    torch.manual_seed(0)
    known = {"id": env, "config": {}, "max_episode_steps": 20}
    return save_policy(
        PolicyCheckpoint(config, DiffusionPolicy(config).state_dict(), env=known), path
    )


def plot(*arguments):
    text = ["plot-trajectories", *map(str, arguments)]
    return CliRunner().invoke(app, text, env={"COLUMNS": "200", "TERM": "dumb"})


def width(picture: Path) -> int:
    with Image.open(picture) as opened:
        assert np.asarray(opened.convert("L")).std() > 5
        return opened.width


def test_a_policy_is_drawn_alone_or_beside_another(tmp_path):
    after, before = policy(tmp_path / "after"), policy(tmp_path / "before")
    alone, both = tmp_path / "alone.png", tmp_path / "both.png"
    result = plot(after, "--episodes", 3, "--output", alone)
    assert result.exit_code == 0, result.output
    assert "3 of 3" in result.output and "before" not in result.output
    result = plot(after, "--before", before, "--stochastic", "--episodes", 2, "--output", both)
    assert result.exit_code == 0, result.output
    assert "before" in result.output and "after" in result.output
    assert width(both) > 1.4 * width(alone)


def test_a_run_is_drawn_beside_what_it_started_from(tmp_path):
    run = tmp_path / "run"
    policy(run / "policy")
    policy(run / "start")
    result = plot(run, "--episodes", 2, "--output", tmp_path / "run.svg")
    assert result.exit_code == 0, result.output
    assert "before" in result.output and (tmp_path / "run.svg").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["avoid", "--output", "picture.jpg"], "--output picture.jpg: expected a name that ends"),
        (["pendulum"], "env=Pendulum-v1: its trajectories cannot be drawn; expected one of"),
        (["avoid", "--before", "pendulum"], "env=Pendulum-v1: its trajectories cannot be drawn"),
        (["nothing"], "nothing: no such directory"),
    ],
)
def test_mistakes_are_shown_before_anything_is_run(tmp_path, monkeypatch, arguments, message):
    policy(tmp_path / "avoid")
    policy(tmp_path / "pendulum", env="Pendulum-v1", obs_dim=3)
    monkeypatch.chdir(tmp_path)
    result = plot(*arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not list(tmp_path.glob("*.png"))
