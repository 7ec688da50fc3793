"""Avoid: demonstrations show two ways between pillars, and fine-tuning is to take one of them.

`avoid-m1`, `avoid-m2` and `avoid-m3` differ in the second way that is demonstrated; all are
rewarded for the first.
"""

from __future__ import annotations

from typing import Any

from dppo_rllib.environments.avoid import ENV_ID, MAX_EPISODE_STEPS
from dppo_rllib.requirements import Requirement
from dppo_rllib.tasks.task import Task, Variant, register

_REWARDED = 5
_OTHER_WAYS = {"m1": 6, "m2": 7, "m3": 8}
_CHUNK = {"horizon_steps": 4, "act_steps": 4}
_DIFFUSION = {"mlp_dims": (512, 512, 512), "time_dim": 16, "activation": "ReLU"}
_GAUSSIAN = {"mlp_dims": (256, 256, 256), "activation": "ReLU", "learn_fixed_std": False}
_GMM = {
    "mlp_dims": (256, 256),
    "activation": "ReLU",
    "residual": False,
    "learn_fixed_std": False,
    "num_modes": 5,
}
_CLONING = {
    **_CHUNK,
    "minibatch_size": 16,
    "lr": 1e-4,
    "min_lr": 1e-5,
    "lr_warmup_epochs": 100,
    "lr_cycle_epochs": 5000,
}
_LEARNING = {
    **_CHUNK,
    "reset_at_iteration": True,
    "clip_param": 0.1,
    "num_epochs": 10,
    "n_critic_warmup_itr": 1,
    "actor_lr": 1e-5,
    "actor_min_lr": 1e-5,
    "actor_lr_cycle_steps": 100,
    "critic_lr_cycle_steps": 100,
}


def _settings(name: str) -> dict[str, dict[str, Any]]:
    """cfg/d3il/{pretrain,finetune}/avoid_NAME/{pre,ft_ppo}_{diffusion,gaussian,gmm}_mlp.yaml."""
    return {
        "DiffusionBC": {**_CLONING, "network": _DIFFUSION},
        "DPPO": {
            **_LEARNING,
            "gamma_denoising": 0.95,
            "clip_param_base": 0.1,
            "clip_param_rate": 1.0,
            "minibatch_size": 6250,
            "network": _DIFFUSION,
        },
        "GaussianBC": {**_CLONING, "network": _GAUSSIAN},
        "GaussianPPO": {**_LEARNING, "minibatch_size": 625, "network": _GAUSSIAN},
        "GMMBC": {**_CLONING, "minibatch_size": 32 if name == "m3" else 16, "network": _GMM},
        "GMMPPO": {**_LEARNING, "minibatch_size": 625, "network": _GMM},
    }


_ARM = Variant(ENV_ID, {"simulator": "mujoco"}, (Requirement(extra="mujoco", module="mujoco"),))

for _name, _other in _OTHER_WAYS.items():
    register(
        Task(
            name=f"avoid-{_name}",
            description=f"A rod passes pillars, by way {_REWARDED} and not {_other}",
            env=ENV_ID,
            env_config={"way": _REWARDED},
            obs_dim=4,
            action_dim=2,
            max_episode_steps=MAX_EPISODE_STEPS,
            success=f"across the finish line by way {_REWARDED}, untouched",
            settings=_settings(_name),
            num_envs=50,
            rollout_fragment_length=25,
            epochs=5000,
            iterations=51,
            expert={"ways": (_REWARDED, _other)},
            variants={"mujoco": _ARM},
            reference=(
                "DPPO (arXiv 2409.00588), D3IL's Avoiding: 50 environments, one episode of each "
                "an iteration. The authors' data are people's demonstrations; here scripted ones."
            ),
        )
    )
