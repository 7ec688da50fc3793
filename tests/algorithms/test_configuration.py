"""Contradictions are refused before anything is built, by field, value and expectation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dppo_rllib import DiffusionBCConfig, DPPOConfig
from dppo_rllib.checkpoints import PolicyCheckpoint, save_policy
from dppo_rllib.environments import Normalization
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.networks import Critic, CriticConfig, ObservationSpec


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_param": 0}, "clip_param=0: expected a positive number"),
        ({"clip_param": 0.01, "clip_param_base": 0.1}, "clip_param_base=0.1: expected at most"),
        ({"gamma": 1.5}, "gamma=1.5: expected a number from 0 to 1"),
        ({"ft_denoising_steps": 21}, "ft_denoising_steps=21: .* from 1 to the sampler's 20"),
        ({"ft_denoising_steps": 0}, "ft_denoising_steps=0"),
        ({"ft_denoising_steps": [[0, 5], [3, 8]]}, "numbers that do not rise"),
        ({"ddim_steps": 5}, "ft_denoising_steps=10: .* sampler's 5 steps"),
        ({"act_steps": 8}, "act_steps=8: .*horizon_steps=4"),
        ({"eps_clip_value": 1.0}, "eps_clip_value=1.0: only DDIM"),
        ({"actor_min_lr": 1.0}, "actor_min_lr=1.0: expected at most actor_lr=0.0001"),
        ({"critic_lr_warmup_steps": 2000}, "critic_lr_warmup_steps=2000: expected less than"),
        ({"network": {"mlp_dims": (8, 8)}, "num_epochs": 0}, "num_epochs=0"),
        ({"network": {"width": 8}}, "width: unknown field"),
        ({"critic": {"layers": 8}}, "layers: unknown field"),
        ({"advantage_clip_lower_quantile": 1.0}, "advantage_clip_lower_quantile=1.0"),
        ({"lr": 0.1}, "lr=0.1: not used by DPPOConfig; set actor_lr and critic_lr"),
        ({"train_batch_size": 7}, "train_batch_size=7: not used"),
        ({"explore": False}, "explore=False: expected True"),
    ],
)
def test_contradictions_are_named(settings: dict[str, Any], message: str) -> None:
    config = DPPOConfig().environment("Hopper-v5").update_from_dict(settings)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError, match="gamma_denoise"):
        DPPOConfig().training(gamma_denoise=0.9)


def test_too_many_learners_for_the_environments_are_refused() -> None:
    config = DPPOConfig().environment("Hopper-v5")
    config.env_runners(num_envs_per_env_runner=1).learners(num_learners=2)
    with pytest.raises(ValueError, match="num_learners=2: expected at most"):
        config.validate()


@pytest.fixture
def base_policy(tmp_path: Path) -> Path:
    config = DiffusionPolicyConfig(obs_dim=11, action_dim=3, horizon_steps=8, act_steps=4)
    ones = np.ones(11, np.float32), np.ones(3, np.float32)
    normalization = Normalization(-ones[0], ones[0], -ones[1], ones[1])
    env = {"id": "Hopper-v5", "config": {}, "max_episode_steps": 50}
    weights = DiffusionPolicy(config).state_dict()
    checkpoint = PolicyCheckpoint(config, weights, normalization, task="hop", env=env)
    return save_policy(checkpoint, tmp_path / "policy")


def test_a_base_policy_brings_its_description_along(base_policy: Path) -> None:
    config = DPPOConfig().training(base_policy=base_policy)
    config.validate()
    assert (config.horizon_steps, config.act_steps, config.env) == (8, 4, "Hopper-v5")
    assert config.max_episode_steps == 50 and config.task == "hop"
    assert config.normalization["obs_max"] == [1.0] * 11


def test_what_contradicts_the_base_policy_is_refused(base_policy: Path) -> None:
    config = DPPOConfig().training(base_policy=base_policy, denoising_steps=30)
    with pytest.raises(ValueError, match="denoising_steps=30: base_policy=.* denoising_steps=20"):
        config.validate()


def test_a_trained_critic_keeps_its_architecture(tmp_path: Path) -> None:
    config = DiffusionPolicyConfig(obs_dim=11, action_dim=3)
    architecture = CriticConfig(mlp_dims=(8, 8, 8))
    critic = Critic(architecture, ObservationSpec(11))
    weights = DiffusionPolicy(config).state_dict()
    weights |= {f"critic.{k}": v for k, v in critic.state_dict().items()}
    checkpoint = PolicyCheckpoint(config, weights, critic=asdict(architecture))
    path = save_policy(checkpoint, tmp_path / "with_critic")
    inherited = DPPOConfig().environment("Hopper-v5").training(base_policy=path)
    inherited.validate()
    assert tuple(inherited.critic["mlp_dims"]) == (8, 8, 8)
    inherited.training(critic={"mlp_dims": (16, 16, 16)})
    with pytest.raises(ValueError, match=r"critic=.*16, 16, 16.*base_policy=.*8, 8, 8"):
        inherited.validate()


def test_a_base_policy_survives_the_way_through_a_dictionary(base_policy: Path) -> None:
    config = DPPOConfig().training(base_policy=base_policy, clip_param=0.02)
    again = DPPOConfig().update_from_dict(config.to_dict())
    again.validate()
    assert (again.horizon_steps, again.clip_param) == (8, 0.02)


def test_a_missing_base_policy_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        DPPOConfig().training(base_policy=tmp_path / "nowhere")


def test_pretraining_asks_for_a_dataset() -> None:
    with pytest.raises(ValueError, match="dataset=None"):
        DiffusionBCConfig().validate()
    with pytest.raises(FileNotFoundError):
        DiffusionBCConfig().training(dataset="nowhere")
