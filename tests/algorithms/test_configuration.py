"""Contradictions are refused before anything is built, by field, value and expectation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from dppo_rllib import DiffusionBCConfig, DPPOConfig, GaussianBCConfig, GMMBCConfig
from dppo_rllib.checkpoints import PolicyCheckpoint, save_policy
from dppo_rllib.denoising import DenoisingConfig
from dppo_rllib.environments import Normalization
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.networks import (
    Critic,
    CriticConfig,
    EtaConfig,
    ObservationSpec,
    UNet1DConfig,
    VisionConfig,
)
from dppo_rllib.networks.gaussian import GaussianMLPConfig


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
        ({"network": {"mlp_dims": (8,)}, "num_epochs": 0}, "num_epochs=0"),
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


UNET = {"type": "unet", "dim_mults": [1, 2, 4]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": UNET, "horizon_steps": 6}, "horizon_steps=6: expected a multiple of 4"),
        ({"network": {"activation": "relu"}}, "activation='relu': expected one of"),
        ({"network": {"mlp_dims": [64, 64]}}, r"mlp_dims=\[64, 64\]: a residual MLP needs"),
        ({"network": {"time_dim": 3}}, "time_dim=3: expected an even number"),
        ({"network": {"mlp_dims": 512}}, "DiffusionMLPConfig.mlp_dims=512: expected a list of int"),
        ({"critic": {"mlp_dims": [64, 64]}}, r"critic.mlp_dims=\[64, 64\]: a residual MLP needs"),
        ({"critic": {"activation": "relu"}}, "critic.activation='relu': expected one of"),
        ({"critic": {"residual": "no"}}, "CriticConfig.residual='no': expected bool"),
    ],
)
def test_an_architecture_that_cannot_be_built_is_refused(
    settings: dict[str, Any], message: str
) -> None:
    config = DPPOConfig().environment("Hopper-v5").update_from_dict(settings)
    with pytest.raises(ValueError, match=message):
        config.validate()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": {"width": 8}}, "DiffusionMLPConfig.width: unknown field"),
        ({"network": {"type": "transformer"}}, "network.type='transformer': expected one of"),
        ({"network": GaussianMLPConfig()}, "network=GaussianMLPConfig.*: expected DiffusionMLPC"),
        ({"network": None}, "network=None: expected DiffusionMLPConfig or UNet1DConfig, or a dict"),
        ({"critic": {"layers": 8}}, "CriticConfig.layers: unknown field"),
        ({"critic": None}, "critic=None: expected a CriticConfig"),
        ({"vision": True}, "vision=True: expected a VisionConfig, or a dictionary"),
        ({"learned_eta": {"knd": "state"}}, "EtaConfig.knd: unknown field"),
        ({"learned_eta": UNet1DConfig()}, "learned_eta=UNet1DConfig.*: expected a EtaConfig"),
    ],
)
def test_what_does_not_describe_an_architecture_is_refused_at_once(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        DPPOConfig().update_from_dict(settings)


@pytest.mark.parametrize("way", ["training", "update_from_dict"])
def test_architectures_are_kept_as_complete_dictionaries(way: str) -> None:
    given = {
        "network": UNet1DConfig(dim=32),
        "vision": {"depth": 2},
        "learned_eta": EtaConfig(kind="state"),
        "critic": {},
    }
    config = DPPOConfig()
    config.training(**given) if way == "training" else config.update_from_dict(given)
    assert config.network == {"type": "unet", **asdict(UNet1DConfig(dim=32))}
    assert config.vision == asdict(VisionConfig(depth=2))
    assert config.learned_eta == asdict(EtaConfig(kind="state"))
    assert config.critic == asdict(CriticConfig())


def test_a_search_space_stands_where_a_value_would() -> None:
    dims, kind = tune.choice([[8], [16]]), tune.choice(["mlp", "unet"])
    config = DPPOConfig().training(network={"mlp_dims": dims})
    assert config.network["mlp_dims"] is dims and config.network["time_dim"] == 16
    assert config.training(network={"type": kind}).network == {"type": kind}


def test_cloning_keeps_a_deviation_constant_unless_told_otherwise() -> None:
    for config in (GaussianBCConfig(), GMMBCConfig()):
        assert not config.training(network={"mlp_dims": [8]}).network["learn_fixed_std"]
        assert config.training(network={"learn_fixed_std": True}).network["learn_fixed_std"]


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


ETA = {"kind": "state", "mlp_dims": (8,), "base_eta": 0.4}


def save_with_eta(path: Path, **eta: Any) -> Path:
    config = DiffusionPolicyConfig(
        obs_dim=11,
        action_dim=3,
        ft_denoising_steps=2,
        denoising=DenoisingConfig(ddim_steps=4),
        learned_eta=EtaConfig(**eta),
    )
    return save_policy(PolicyCheckpoint(config, DiffusionPolicy(config).state_dict()), path)


def test_a_learned_noise_level_is_learned_further_or_kept(tmp_path: Path) -> None:
    base = save_with_eta(tmp_path / "policy", **ETA)
    config = DPPOConfig().environment("Hopper-v5").training(base_policy=base)
    config.validate()
    assert config.learned_eta == asdict(EtaConfig(**ETA))
    config.training(learned_eta={**ETA, "learnable": False}).validate()


@pytest.mark.parametrize(
    ("eta", "message"),
    [
        (None, "learned_eta=None: base_policy=.* has learned EtaConfig.*learnable=False"),
        ({**ETA, "kind": "action"}, "learned_eta.kind=action: .* with kind=state"),
        ({**ETA, "mlp_dims": (16,)}, r"learned_eta.mlp_dims=\(16,\): .* mlp_dims=\(8,\)"),
        ({**ETA, "max_eta": 0.9}, "learned_eta.max_eta=0.9: .* with max_eta=1.0"),
    ],
)
def test_a_noise_level_unlike_the_one_that_was_learned_is_refused(
    eta: dict[str, Any] | None, message: str, tmp_path: Path
) -> None:
    base = save_with_eta(tmp_path / "policy", **ETA)
    config = DPPOConfig().environment("Hopper-v5").training(base_policy=base, learned_eta=eta)
    with pytest.raises(ValueError, match=message):
        config.validate()


def test_pretraining_asks_for_a_dataset() -> None:
    with pytest.raises(ValueError, match="dataset=None"):
        DiffusionBCConfig().validate()
    with pytest.raises(FileNotFoundError):
        DiffusionBCConfig().training(dataset="nowhere")
