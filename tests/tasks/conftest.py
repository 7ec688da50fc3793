from pathlib import Path

import pytest

from dppo_rllib.checkpoints import PolicyCheckpoint, save_policy
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig


@pytest.fixture
def hopper_policy(tmp_path: Path) -> Path:
    """An untrained policy of Hopper's dimensions."""
    config = DiffusionPolicyConfig(obs_dim=11, action_dim=3)
    weights = DiffusionPolicy(config).state_dict()
    return save_policy(PolicyCheckpoint(config=config, weights=weights), tmp_path / "hopper")
