"""Furniture-Bench: an arm screws furniture together, from states.

Each task comes with the authors' settings for all their policies: `one-leg-low` (diffusion MLPs
and Gaussian policies) and `one-leg-low-unet` (U-Nets, the paper's), and so on for lamp and
round-table, at low and at medium randomness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dppo_rllib.environments.furniture import RANDOMNESS_NAMES, env_id, isaac
from dppo_rllib.tasks.task import Requirement, Task, Variant, register

_REQUIRES = (
    Requirement(extra="furniture", module="trimesh"),
    Requirement(package="furniture-bench==0.1", options="--no-deps", module="furniture_bench"),
)
_REQUIRES_WARP = (*_REQUIRES, Requirement(extra="furniture-warp", module="mujoco_warp"))
# All copies at once: no threads, whatever else would share the cores among them.
_WARP = {"simulator": "mujoco_warp", "num_threads": 1}
_REFERENCE = (
    "DPPO (arXiv 2409.00588), Furniture-Bench: 1,000 environments in IsaacGym, 50 human "
    "demonstrations; here MuJoCo and a scripted expert. One-leg on hardware: 16 of 20."
)


@dataclass(frozen=True)
class _Furniture:
    """What differs among the tasks.

    Attributes:
        description: For people.
        success: The same.
        obs_dim: Width of observations.
        steps: Of an episode.
        small_steps: Of one of the small presets, for which experts need 175 to 185, or 262 to 874.
        unet_batch: Minibatch of U-Nets.
    """

    description: str
    success: str
    obs_dim: int
    steps: int
    small_steps: int
    unet_batch: int


@dataclass(frozen=True)
class _Scale:
    """How much of everything: copies, epochs of cloning, iterations."""

    num_envs: int
    epochs: int
    gaussian_epochs: int
    iterations: int


_OFFICIAL, _SMALL = _Scale(1000, 8000, 3000, 1000), _Scale(64, 400, 400, 16)
_FURNITURE = {
    "one_leg": _Furniture(
        "An arm screws a leg into a table top", "the leg is screwed in", 58, 700, 400, 30_000
    ),
    "lamp": _Furniture(
        "An arm screws a bulb into a lamp and covers it",
        "bulb and hood are in place",
        44,
        1000,
        1000,
        40_000,
    ),
    "round_table": _Furniture(
        "An arm screws a leg into a round top and a foot into the leg",
        "leg and foot are screwed in",
        44,
        1000,
        1000,
        40_000,
    ),
}
# Cloned policies have the noise of fine-tuning, too: before and after are compared under it.
_SAMPLER = {"denoising_steps": 100, "ddim_steps": 5, "min_sampling_denoising_std": 0.04}
# Horizon: MLPs see as far as they act, U-Nets twice as far.
_ACT_STEPS = 8
_MLP_STEPS = {"horizon_steps": _ACT_STEPS, "act_steps": _ACT_STEPS}
_UNET_STEPS = {"horizon_steps": 2 * _ACT_STEPS, "act_steps": _ACT_STEPS}
_DIFFUSION_MLP = {
    "mlp_dims": (1024,) * 7,
    "time_dim": 32,
    "cond_mlp_dims": (512, 64),
    "use_layernorm": True,
    "residual": True,
}
_UNET = {"type": "unet", "dim": 64, "dim_mults": (1, 2, 4), "diffusion_step_embed_dim": 16}
_GAUSSIAN = {"mlp_dims": (1024,) * 11, "activation": "ReLU", "residual": True}
_PPO = {
    "gamma": 0.999,
    "num_epochs": 5,
    "n_critic_warmup_itr": 1,
    "reset_at_iteration": True,
    "actor_lr": 1e-5,
    "actor_min_lr": 1e-6,
    "actor_lr_warmup_steps": 10,
    "actor_lr_cycle_steps": 10_000,
    "critic_lr_warmup_steps": 10,
    "critic_lr_cycle_steps": 10_000,
    "critic": {"mlp_dims": (512, 512, 512)},
}
_DPPO = {
    **_PPO,
    **_SAMPLER,
    "ft_denoising_steps": 5,
    "gamma_denoising": 0.9,
    "clip_param": 0.001,
    "clip_param_base": 0.001,
}


def _chunks(steps: int) -> int:
    return -(-steps // _ACT_STEPS)


def _cloning(epochs: int) -> dict[str, Any]:
    return {
        "minibatch_size": 256,
        "lr": 1e-4,
        "min_lr": 1e-5,
        "lr_warmup_epochs": 100,
        "lr_cycle_epochs": epochs,
    }


def _mlp_settings(name: str, randomness: str) -> dict[str, dict[str, Any]]:
    """cfg/furniture/{pretrain,finetune}/NAME/*_mlp.yaml."""
    batch = 17_600 if (name, randomness) == ("one_leg", "low") else 8_800
    gaussian = {**_PPO, **_MLP_STEPS, "minibatch_size": 8_800, "clip_param": 0.01}
    return {
        "DiffusionBC": {**_cloning(8000), **_SAMPLER, **_MLP_STEPS, "network": _DIFFUSION_MLP},
        "DPPO": {**_DPPO, **_MLP_STEPS, "minibatch_size": batch, "network": _DIFFUSION_MLP},
        "GaussianBC": {**_cloning(3000), **_MLP_STEPS, "network": {**_GAUSSIAN, "fixed_std": 0.1}},
        "GaussianPPO": {**gaussian, "network": {**_GAUSSIAN, "fixed_std": 0.04}},
    }


def _unet_settings(name: str, randomness: str, batch: int) -> dict[str, dict[str, Any]]:
    """cfg/furniture/{pretrain,finetune}/NAME/*_unet.yaml."""
    # Their cloning has another epsilon here and there; a policy has one.
    coarse = randomness == "low" or name == "one_leg"
    unet = {**_UNET, "groupnorm_eps": 1e-4 if coarse else 1e-5}
    return {
        "DiffusionBC": {**_cloning(8000), **_SAMPLER, **_UNET_STEPS, "network": unet},
        "DPPO": {**_DPPO, **_UNET_STEPS, "minibatch_size": batch, "network": unet},
    }


def _small_settings(chunks: int) -> dict[str, dict[str, Any]]:
    """Ours: a small network, 64 episodes an iteration of so many chunks.

    20 steps of denoising, all of them taken, as for Robomimic. With half of the authors' noise a
    cloned policy succeeded 16 times of 64 instead of 9. Learning rates of fine-tuning are the
    authors'; an epoch has five minibatches.
    """
    rows = _SMALL.num_envs * chunks
    mlp = {"mlp_dims": (512,) * 3}
    diffusion = {
        **_SAMPLER,
        **_MLP_STEPS,
        "denoising_steps": 20,
        "ddim_steps": None,
        "min_sampling_denoising_std": 0.02,
        "network": {**mlp, "time_dim": 32},
    }
    cloning = {
        "minibatch_size": 256,
        "lr": 1e-3,
        "min_lr": 1e-5,
        "lr_warmup_epochs": 2,
        "lr_cycle_epochs": _SMALL.epochs,
    }
    tuning = {
        **_PPO,
        "minibatch_size": rows // 5,
        "actor_lr_warmup_steps": 1,
        "critic_lr_warmup_steps": 1,
        "clip_param": 0.02,
    }
    denoised = {
        "ft_denoising_steps": 10,
        "gamma_denoising": 0.9,
        "clip_param_base": 0.002,
        "minibatch_size": 10 * rows // 5,
    }
    gaussian = {**mlp, "activation": "ReLU"}
    return {
        "DiffusionBC": {**cloning, **diffusion},
        "DPPO": {**tuning, **diffusion, **denoised},
        "GaussianBC": {**cloning, **_MLP_STEPS, "network": {**gaussian, "fixed_std": 0.1}},
        "GaussianPPO": {**tuning, **_MLP_STEPS, "network": {**gaussian, "fixed_std": 0.04}},
    }


def _task(
    name: str,
    policy: str,
    task: str,
    randomness: str,
    settings: dict[str, Any],
    scale: _Scale = _OFFICIAL,
    steps: int | None = None,
) -> None:
    scene = _FURNITURE[task]
    steps = steps or scene.steps
    register(
        Task(
            name=name,
            description=f"{scene.description} ({policy}, {randomness} randomness)",
            env=env_id(task, randomness),
            obs_dim=scene.obs_dim,
            action_dim=10,
            max_episode_steps=steps,
            success=scene.success,
            settings=settings,
            num_envs=scale.num_envs,
            rollout_fragment_length=_chunks(steps),
            epochs=scale.epochs,
            epochs_of={"GaussianBC": scale.gaussian_epochs},
            iterations=scale.iterations,
            reference=_REFERENCE,
            requires=_REQUIRES,
            variants={
                "isaacgym": Variant(isaac.env_id(task, randomness), gpu_simulator=True),
                "mujoco_warp": Variant(
                    env_id(task, randomness), _WARP, _REQUIRES_WARP, gpu_simulator=True
                ),
            },
        )
    )


for _name, _furniture in _FURNITURE.items():
    for _randomness in RANDOMNESS_NAMES:
        _id = f"{_name.replace('_', '-')}-{_randomness}"
        _task(_id, "MLP", _name, _randomness, _mlp_settings(_name, _randomness))
        _unet = _unet_settings(_name, _randomness, _furniture.unet_batch)
        _task(f"{_id}-unet", "U-Net", _name, _randomness, _unet)

for _name, _furniture in _FURNITURE.items():
    _id = f"{_name.replace('_', '-')}-low-small"
    _steps = _furniture.small_steps
    _task(_id, "small MLP", _name, "low", _small_settings(_chunks(_steps)), _SMALL, _steps)
