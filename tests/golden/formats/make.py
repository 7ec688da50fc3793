"""Makes the files beside it: Minari's with Minari, and RLlib's with its runner that records.

    pip install "minari[all]==0.5.4" msgpack-numpy
    python tests/golden/formats/make.py

Two episodes, of 5 steps that terminate and of 3 steps that are truncated; `expected.npz` holds
their arrays, end to end. For RLlib an environment and a module play them back.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import gymnasium
import numpy as np
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner

HERE = Path(__file__).parent
LENGTHS = (5, 3)


def episodes():
    """Observations with the last one, and what else there is."""
    rng = np.random.default_rng(0)
    for length in LENGTHS:
        ramp = np.linspace(0, 200, 40)
        picture = np.stack([ramp[None, :] + 0 * ramp[:36, None]] * 3, axis=-1)
        yield {
            "state": rng.normal(size=(length + 1, 4)).astype(np.float32),
            "goal": rng.normal(size=(length + 1, 2)).astype(np.float32),
            "picture": np.stack([picture + 5 * t for t in range(length + 1)]).astype(np.uint8),
            "actions": rng.uniform(-1, 1, (length, 2)).astype(np.float32),
            "rewards": rng.normal(size=length).astype(np.float32),
        }


def write_expected():
    arrays = {}
    for key in ("state", "goal", "picture", "actions", "rewards"):
        cut = slice(None, -1) if key in ("state", "goal", "picture") else slice(None)
        arrays[key] = np.concatenate([episode[key][cut] for episode in episodes()])
    np.savez_compressed(HERE / "expected.npz", lengths=np.array(LENGTHS), **arrays)


def write_minari():
    os.environ["MINARI_DATASETS_PATH"] = str(HERE / "scratch")
    import minari
    from minari.data_collector import EpisodeBuffer

    box = gymnasium.spaces.Box
    space = gymnasium.spaces.Dict(
        state=box(-9, 9, (4,), np.float32),
        goal=gymnasium.spaces.Dict(place=box(-9, 9, (2,), np.float32)),
        picture=box(0, 255, (36, 40, 3), np.uint8),
    )
    for storage in ("hdf5", "arrow"):
        buffers = []
        for i, episode in enumerate(episodes()):
            last = [False] * (LENGTHS[i] - 1) + [True]
            observations = {
                "state": episode["state"],
                "goal": {"place": episode["goal"]},
                "picture": episode["picture"],
            }
            buffers.append(
                EpisodeBuffer(
                    observations=observations,
                    actions=episode["actions"],
                    rewards=episode["rewards"].tolist(),
                    terminations=last if i == 0 else [False] * LENGTHS[i],
                    truncations=last if i == 1 else [False] * LENGTHS[i],
                    infos={},
                )
            )
        name = f"{storage}/human-v0"
        minari.create_dataset_from_buffers(
            name,
            buffers,
            observation_space=space,
            action_space=box(-1, 1, (2,), np.float32),
            data_format=storage,
            algorithm_name="none",
            author="nobody",
            author_email="nobody@example.org",
            code_permalink="https://example.org",
        )
        shutil.copytree(HERE / "scratch" / name, HERE / f"minari_{storage}", dirs_exist_ok=True)
    shutil.rmtree(HERE / "scratch")


class Replay(gymnasium.Env):
    """What the episodes hold, one after the other, whatever is done."""

    observation_space = gymnasium.spaces.Box(-9, 9, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, config=None):
        self.number = -1

    def reset(self, *, seed=None, options=None):
        self.number, self.t = (self.number + 1) % len(LENGTHS), 0
        self.episode = list(episodes())[self.number]
        return self.episode["state"][0], {}

    def step(self, action):
        reward = float(self.episode["rewards"][self.t])
        self.t += 1
        last = self.t == LENGTHS[self.number]
        ends = last and self.number == 0, last and self.number == 1
        return self.episode["state"][self.t], reward, *ends, {}


class Actor(TorchRLModule):
    """Answers an observation of the episodes with the action that follows it."""

    def _forward(self, batch, **kwargs):
        states = np.concatenate([episode["state"][:-1] for episode in episodes()])
        actions = np.concatenate([episode["actions"] for episode in episodes()])
        asked = np.asarray(batch["obs"])
        # Nothing follows the last observations, at which a runner asks too: any action will do.
        rows = [int(np.argmax((states == state).all(axis=1))) for state in asked]
        return {"actions": torch.as_tensor(actions[rows])}


def write_rllib():
    kinds = {
        "steps": {"output_write_episodes": False, "output_compress_columns": []},
        "packed": {"output_write_episodes": False},
        "episodes": {"output_write_episodes": True},
    }
    for name, how in kinds.items():
        folder = HERE / f"rllib_{name}"
        shutil.rmtree(folder, ignore_errors=True)
        config = (
            PPOConfig()
            .environment(Replay)
            .env_runners(num_env_runners=0, batch_mode="complete_episodes")
            .rl_module(rl_module_spec=RLModuleSpec(module_class=Actor))
            .offline_data(output=str(folder), **how)
        )
        runner = OfflineSingleAgentEnvRunner(config=config)
        runner.sample(num_episodes=len(LENGTHS))
        runner.stop()


if __name__ == "__main__":
    write_expected()
    write_minari()
    write_rllib()
    sys.exit(0)
