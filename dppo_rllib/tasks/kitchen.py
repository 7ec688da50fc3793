"""Franka Kitchen: four subtasks in a row, of which each is worth 1.

`kitchen-partial` and `kitchen-complete` are one environment; D4RL's data for them differ.
`kitchen-mixed` asks for the bottom burner where these ask for the slide cabinet.
"""

from __future__ import annotations

from dppo_rllib.environments.kitchen import ENV_ID, MAX_EPISODE_STEPS
from dppo_rllib.tasks.task import Requirement, Task, register

_SLIDE = ("microwave", "kettle", "light switch", "slide cabinet")
_BURNER = ("microwave", "kettle", "bottom burner", "light switch")
_SUBTASKS = {"partial": _SLIDE, "complete": _SLIDE, "mixed": _BURNER}

# cfg/gym/pretrain/kitchen-NAME-v0/pre_{diffusion,gaussian}_mlp.yaml
_DIFFUSION = {"mlp_dims": (256, 256, 256), "time_dim": 16, "cond_mlp_dims": (128, 32)}
_GAUSSIAN = {"mlp_dims": (256, 256, 256), "residual": False, "learn_fixed_std": False}
_CLONING = {
    "horizon_steps": 4,
    "minibatch_size": 128,
    "lr": 1e-3,
    "min_lr": 1e-4,
    "lr_warmup_epochs": 1,
    "lr_cycle_epochs": 3000,
}
# cfg/gym/finetune/kitchen-NAME-v0/ft_ppo_diffusion_mlp.yaml
_LEARNING = {"horizon_steps": 4, "act_steps": 4, "num_epochs": 10}
# The authors fine-tune no Gaussian policies here: a tenth of the pairs, as a chain has one step.
_GAUSSIAN_LEARNING = {**_LEARNING, "minibatch_size": 560, "network": _GAUSSIAN}

for _name, _subtasks in _SUBTASKS.items():
    _batch = {"minibatch_size": 256} if _name == "mixed" else {}
    _decay = {"weight_decay": 1e-5} if _name == "partial" else {}
    register(
        Task(
            name=f"kitchen-{_name}",
            description=f"An arm in a kitchen: {', '.join(_subtasks)}",
            env=ENV_ID,
            env_config={"subtasks": _subtasks},
            obs_dim=60,
            action_dim=9,
            max_episode_steps=MAX_EPISODE_STEPS,
            success="all four are done",
            settings={
                "DiffusionBC": {**_CLONING, **_batch, **_decay, "network": _DIFFUSION},
                "DPPO": {**_LEARNING, "minibatch_size": 5600, "network": _DIFFUSION},
                "GaussianBC": {**_CLONING, "network": _GAUSSIAN},
                "GaussianPPO": _GAUSSIAN_LEARNING,
            },
            num_envs=40,
            rollout_fragment_length=70,
            epochs=3000,
            iterations=301,
            reference=(
                "DPPO (arXiv 2409.00588), Franka Kitchen: 40 environments, 70 chunk steps an "
                "iteration. The authors' data are D4RL's; here they are yours, or scripted."
            ),
            requires=(Requirement(extra="kitchen", module="gymnasium_robotics"),),
        )
    )
