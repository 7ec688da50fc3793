"""What the authors call a setting, and what it is here."""

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


def settings_of(official, config):
    """What a configuration has of the authors' settings, and what it should be, by their names."""
    found = {key: getattr(config, ours) for key, ours in SETTINGS.items() if key in official}
    expected = {key: official[key] for key in found}
    # Theirs ends above where it begins.
    for kind in ("actor", "critic"):
        if (low := f"train.{kind}_lr_scheduler.min_lr") in expected:
            expected[low] = min(expected[low], expected[f"train.{kind}_lr"])
    return found, expected
