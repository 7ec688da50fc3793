"""The presets, against what the authors' YAML files say."""

import json
from pathlib import Path

import pytest

from dppo_rllib.algorithms.by_kind import ALGORITHMS
from dppo_rllib.tasks import get_task

OFFICIAL = json.loads((Path(__file__).parents[1] / "golden" / "robomimic_configs.json").read_text())
FINE_TUNING = {"diffusion": "DPPO", "gaussian": "GaussianPPO", "gmm": "GMMPPO"}
CLONING = {"diffusion": "DiffusionBC", "gaussian": "GaussianBC", "gmm": "GMMBC"}
# Theirs -> ours.
SETTINGS = {
    "denoising_steps": "denoising_steps",
    "ft_denoising_steps": "ft_denoising_steps",
    "cond_steps": "cond_steps",
    "horizon_steps": "horizon_steps",
    "act_steps": "act_steps",
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
VISION = {"spatial_emb": "spatial_emb", "num_img": "num_cameras"}


def of(variant):
    """The task of a variant, and the configuration that it makes."""
    stage, scene, policy, network, seen = variant.split("/")
    parts = [scene]
    parts += ["pixels"] if seen == "pixels" else []
    parts += [network] if network != "mlp" else []
    task = get_task("-".join(parts))
    name = (FINE_TUNING if stage == "finetune" else CLONING)[policy]
    return task, ALGORITHMS[name].get_default_config().training(**task.settings[name])


@pytest.mark.parametrize("variant", OFFICIAL)
def test_a_preset_has_the_authors_settings(variant):
    official, (task, config) = OFFICIAL[variant], of(variant)
    found = {key: getattr(config, ours) for key, ours in SETTINGS.items() if key in official}
    expected = {key: official[key] for key in found}
    # Theirs ends above where it begins.
    for kind in ("actor", "critic"):
        if (low := f"train.{kind}_lr_scheduler.min_lr") in expected:
            expected[low] = min(expected[low], expected[f"train.{kind}_lr"])
    assert found == expected
    batch = official["train.batch_size"] * official.get("train.grad_accumulate", 1)
    assert config.minibatch_size == batch
    assert (task.obs_dim, task.action_dim) == (official["obs_dim"], official["action_dim"])
    if "train.n_epochs" in official:
        assert task.epochs == official["train.n_epochs"]


@pytest.mark.parametrize("variant", OFFICIAL)
def test_its_networks_are_theirs(variant):
    official, (_, config) = OFFICIAL[variant], of(variant)
    network = {k.removeprefix("network."): v for k, v in official.items() if "network." in k}
    plain = json.loads(json.dumps({"network": config.network, "vision": config.vision}))
    augment = network.pop("augment", None)
    for key, value in network.items():
        if key in VISION:
            assert plain["vision"][VISION[key]] == value
        else:
            assert plain["network"][NETWORK.get(key, key)] == value, key
    if variant.startswith("pretrain") and augment is not None:
        assert config.augment is augment
    if variant.startswith("finetune"):
        assert list(config.critic["mlp_dims"]) == official["model.critic.mlp_dims"]
        assert config.critic["activation"] == official["model.critic.activation_type"]


@pytest.mark.parametrize("variant", [name for name in OFFICIAL if name.startswith("finetune")])
def test_an_iteration_samples_as_many_steps(variant):
    official, (task, _) = OFFICIAL[variant], of(variant)
    assert task.num_envs == official["env.n_envs"]
    assert task.rollout_fragment_length == official["train.n_steps"]
    assert task.max_episode_steps == official["env.max_episode_steps"]
    if variant != "finetune/can/gmm/transformer/states":  # 300, of a task with 151 otherwise
        assert task.iterations == official["train.n_train_itr"]
