"""A DPPO learner for golden tests: built directly, without actors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from dppo_rllib.algorithms import DPPOConfig
from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner

GOLDEN = Path(__file__).parents[1] / "golden"
OBS_DIM, ACTION_DIM, HORIZON = 5, 3, 4


@pytest.fixture(scope="session")
def golden() -> Any:
    return np.load(GOLDEN / "golden.npz")


def golden_config(act_steps: int = HORIZON, **training: Any) -> DPPOConfig:
    """A configuration of the size of the golden models, on one learner in this process."""
    config = DPPOConfig().environment("Hopper-v5").learners(num_learners=0).debugging(seed=0)
    return config.training(
        network={"mlp_dims": (32, 32, 32), "time_dim": 8},
        critic={"mlp_dims": (16, 16, 16)},
        horizon_steps=HORIZON,
        act_steps=act_steps,
        **training,
    )


def load_official(learner: ChunkPPOLearner, name: str) -> None:
    """Loads a golden checkpoint of the authors into a learner's module."""
    model = torch.load(GOLDEN / "ckpt" / f"{name}.pt", weights_only=False)["model"]
    prefixes = {"actor.": "policy.actor.", "actor_ft.": "policy.actor_ft.", "critic.": "critic."}
    state = {
        new + key.removeprefix(old): value.numpy()
        for key, value in model.items()
        for old, new in prefixes.items()
        if key.startswith(old)
    }
    learner.module[DEFAULT_MODULE_ID].set_state(state)


@pytest.fixture
def make_learner() -> Callable[..., ChunkPPOLearner]:
    def make(checkpoint: str, learner_class: Any = ChunkPPOLearner, **config: Any) -> Any:
        act_steps = config.get("act_steps", HORIZON)
        built = golden_config(**config).learners(learner_class=learner_class)
        built.validate()
        obs = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (1, OBS_DIM)))
        action = gymnasium.spaces.Box(-1, 1, (act_steps, ACTION_DIM))
        learner = built.build_learner(spaces={DEFAULT_MODULE_ID: (obs, action)})
        load_official(learner, checkpoint)
        return learner

    return make
