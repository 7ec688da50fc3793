"""A task without a simulator: its environment travels with the file that registers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from dppo_rllib.checkpoints import PolicyCheckpoint, save_policy
from dppo_rllib.cli import app
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig

TASK_FILE = '''
import gymnasium
import numpy as np

from dppo_rllib.tasks import Task, register


class Reach(gymnasium.Env):
    """A point that shall come to the origin; no simulator, no OpenGL."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = gymnasium.spaces.Box(-5, 5, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1, 2).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x = np.clip(self.x + 0.2 * action, -5, 5).astype(np.float32)
        distance = float(np.abs(self.x).max())
        return self.x.copy(), -distance, False, False, {"success": distance < 0.5}

    def render(self):
        picture = np.zeros((33, 33, 3), np.uint8)
        row, column = (16 + 3 * self.x).astype(int)
        picture[row, column] = 255
        return picture


register(
    Task(
        name="reach",
        description="A point in the plane",
        env=Reach,
        obs_dim=2,
        action_dim=2,
        max_episode_steps=8,
        success="within 0.5 of the origin",
        settings={
            "DPPO": {
                "ft_denoising_steps": 2,
                "num_epochs": 1,
                "minibatch_size": 64,
                "critic": {"mlp_dims": (16, 16, 16)},
            },
        },
        num_envs=4,
        rollout_fragment_length=4,
        iterations=2,
    )
)
'''

Run = Callable[..., Any]


@pytest.fixture(scope="session")
def tasks_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tasks") / "reach.py"
    file.write_text(TASK_FILE)
    return file


@pytest.fixture(scope="session")
def reach_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained policy for `reach`."""
    config = DiffusionPolicyConfig.from_dict(
        {
            "obs_dim": 2,
            "action_dim": 2,
            "horizon_steps": 2,
            "act_steps": 2,
            "denoising": {"denoising_steps": 4},
            "network": {"mlp_dims": [16, 16, 16], "time_dim": 8},
        }
    )
    checkpoint = PolicyCheckpoint(
        config=config, weights=DiffusionPolicy(config).state_dict(), task="reach"
    )
    return save_policy(checkpoint, tmp_path_factory.mktemp("policies") / "reach")


@pytest.fixture(scope="session")
def dppo(tasks_file: Path) -> Run:
    """Runs the command as a user would, with the task's file."""

    def run(*arguments: Any) -> Any:
        text = ["--tasks-from", str(tasks_file), *map(str, arguments)]
        return CliRunner().invoke(app, text, env={"COLUMNS": "200", "TERM": "dumb"})

    return run


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """Endpoint of an S3 server on this machine, whose bucket is `runs`; options of its URIs."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    endpoint = "{}:{}".format(*server.get_host_and_port())
    keys = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in keys.items():
            patch.setenv(name, value)
        boto3.client("s3", endpoint_url=f"http://{endpoint}").create_bucket(Bucket="runs")
        yield f"scheme=http&endpoint_override={endpoint}"
    server.stop()
