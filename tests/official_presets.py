"""Presets of tasks against what the authors' YAML files say (tests/golden/*_configs.json)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dppo_rllib.algorithms.by_kind import ALGORITHMS
from dppo_rllib.tasks import Task

FINE_TUNING = {"diffusion": "DPPO", "gaussian": "GaussianPPO", "gmm": "GMMPPO"}
CLONING = {"diffusion": "DiffusionBC", "gaussian": "GaussianBC", "gmm": "GMMBC"}
# Theirs -> ours.
SETTINGS = {
    "denoising_steps": "denoising_steps",
    "ft_denoising_steps": "ft_denoising_steps",
    "cond_steps": "cond_steps",
    "horizon_steps": "horizon_steps",
    "act_steps": "act_steps",
    "env.reset_at_iteration": "reset_at_iteration",
    "train.n_critic_warmup_itr": "n_critic_warmup_itr",
    "train.gamma": "gamma",
    "train.gae_lambda": "lambda_",
    "train.actor_lr": "actor_lr",
    "train.actor_lr_scheduler.min_lr": "actor_min_lr",
    "train.actor_lr_scheduler.warmup_steps": "actor_lr_warmup_steps",
    "train.actor_lr_scheduler.first_cycle_steps": "actor_lr_cycle_steps",
    "train.actor_weight_decay": "actor_weight_decay",
    "train.critic_lr": "critic_lr",
    "train.critic_lr_scheduler.min_lr": "critic_min_lr",
    "train.critic_lr_scheduler.warmup_steps": "critic_lr_warmup_steps",
    "train.critic_lr_scheduler.first_cycle_steps": "critic_lr_cycle_steps",
    "train.critic_weight_decay": "critic_weight_decay",
    "train.reward_scale_running": "reward_scale_running",
    "train.reward_scale_const": "reward_scale_const",
    "train.update_epochs": "num_epochs",
    "train.vf_coef": "vf_loss_coeff",
    "train.target_kl": "target_kl",
    "train.augment": "augment",
    "train.learning_rate": "lr",
    "train.weight_decay": "weight_decay",
    "train.lr_scheduler.min_lr": "min_lr",
    "train.lr_scheduler.warmup_steps": "lr_warmup_epochs",
    "train.lr_scheduler.first_cycle_steps": "lr_cycle_epochs",
    "model.gamma_denoising": "gamma_denoising",
    "model.clip_ploss_coef": "clip_param",
    "model.clip_ploss_coef_base": "clip_param_base",
    "model.clip_ploss_coef_rate": "clip_param_rate",
    "model.randn_clip_value": "randn_clip_value",
    "model.min_sampling_denoising_std": "min_sampling_denoising_std",
    "model.min_logprob_denoising_std": "min_logprob_denoising_std",
    "model.ddim_steps": "ddim_steps",
    "model.denoised_clip_value": "denoised_clip_value",
}
NETWORK = {
    "activation_type": "activation",
    "residual_style": "residual",
    "transformer_embed_dim": "embed_dim",
    "transformer_num_heads": "num_heads",
    "transformer_num_layers": "num_layers",
}


def official_configs(family: str) -> dict[str, dict[str, Any]]:
    """Of a family the authors' settings by "stage/task/kind of policy"."""
    text = (Path(__file__).parent / "golden" / f"{family}_configs.json").read_text()
    configs: dict[str, dict[str, Any]] = json.loads(text)
    return configs


def preset(task: Task, stage: str, kind: str) -> Any:
    """Our configuration of a task for a kind of policy."""
    name = (FINE_TUNING if stage == "finetune" else CLONING)[kind]
    return ALGORITHMS[name].get_default_config().training(**task.settings[name])


def settings_of(official: dict[str, Any], config: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a configuration has of the authors' settings, and what it should be, by their names."""
    found = {key: getattr(config, ours) for key, ours in SETTINGS.items() if key in official}
    expected = {key: official[key] for key in found}
    # Theirs may end above where it begins.
    for kind in ("actor", "critic"):
        if (low := f"train.{kind}_lr_scheduler.min_lr") in expected:
            expected[low] = min(expected[low], expected[f"train.{kind}_lr"])
    return found, expected


def assert_settings_agree(official: dict[str, Any], task: Task, config: Any) -> None:
    """All that both name, sizes of batches, and the task's dimensions."""
    found, expected = settings_of(official, config)
    assert found == expected
    batch = official["train.batch_size"] * official.get("train.grad_accumulate", 1)
    assert config.minibatch_size == batch
    assert (task.obs_dim, task.action_dim) == (official["obs_dim"], official["action_dim"])
    if "train.n_epochs" in official:
        epochs = task.epochs_of.get(config.algo_class.__name__, task.epochs)
        assert epochs == official["train.n_epochs"]


def assert_networks_agree(official: dict[str, Any], config: Any) -> None:
    """All that they say of actor and critic."""
    network = json.loads(json.dumps(config.network))
    theirs = {k.removeprefix("network."): v for k, v in official.items() if "network." in k}
    for key, value in theirs.items():
        assert network[NETWORK.get(key, key)] == value, key
    if "model.critic.mlp_dims" in official:
        assert list(config.critic["mlp_dims"]) == official["model.critic.mlp_dims"]
        activation = official.get("model.critic.activation_type", "Mish")
        assert config.critic["activation"] == activation


def assert_iterations_agree(official: dict[str, Any], task: Task) -> None:
    """How much is sampled in an iteration, and how often."""
    assert task.num_envs == official["env.n_envs"]
    assert task.rollout_fragment_length == official["train.n_steps"]
    assert task.max_episode_steps == official["env.max_episode_steps"]
    assert task.iterations == official["train.n_train_itr"]
