"""Robomimic: arms lift, carry and insert, from states and from pixels.

Each task comes with the authors' settings for all their policies: `lift` (MLPs), `lift-unet`
(U-Nets), `lift-transformer` (Gaussian policies and mixtures), `lift-pixels`, `lift-pixels-unet`,
and so on for can, square and transport.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dppo_rllib.environments.robomimic import HORIZONS, REQUIRES
from dppo_rllib.tasks.task import Task, register

_REFERENCE = (
    "DPPO (arXiv 2409.00588), Robomimic: 50 environments. The authors' data are Robomimic's "
    "multi-human demonstrations, thinned out, in robosuite 1.4; here they are yours, or scripted."
)


@dataclass(frozen=True)
class _Scene:
    """What differs among the tasks; of the pairs the second is for policies from pixels.

    Attributes:
        description: For people.
        success: The same.
        robots: Arms.
        object_dim: Width of the objects' state.
        act_steps: `Ta`.
        rollout: Chunk steps of an iteration.
        iterations: Of fine-tuning.
        minibatch_size: Of fine-tuning.
        num_epochs: Of an iteration, from states.
        warmup: Iterations until the learning rates are full, from states.
        mlp: Width of MLPs.
        time_dim: Of the time embedding of diffusion MLPs from states.
        unet: Channels of U-Nets.
        unet_lr: Learning rate of fine-tuned U-Nets.
        embed: Width of transformers.
        pixel_lr: Learning rate of diffusion and of Gaussian policies from pixels.
    """

    description: str
    success: str
    robots: int
    object_dim: int
    act_steps: int
    rollout: int
    iterations: tuple[int, int]
    minibatch_size: tuple[int, int]
    num_epochs: int
    warmup: int
    mlp: tuple[int, int]
    time_dim: int
    unet: int
    unet_lr: tuple[float, float]
    embed: int
    pixel_lr: tuple[float, float]


_SCENES = {
    "lift": _Scene(
        "An arm lifts a cube",
        "the cube is 4 cm above the table",
        robots=1,
        object_dim=10,
        act_steps=4,
        rollout=300,
        iterations=(81, 81),
        minibatch_size=(7500, 7500),
        num_epochs=10,
        warmup=10,
        mlp=(512, 512),
        time_dim=16,
        unet=40,
        unet_lr=(1e-4, 5e-5),
        embed=96,
        pixel_lr=(5e-5, 1e-4),
    ),
    "can": _Scene(
        "An arm puts a can into its bin",
        "the can lies in its compartment, let go",
        robots=1,
        object_dim=14,
        act_steps=4,
        rollout=300,
        iterations=(151, 151),
        minibatch_size=(7500, 7500),
        num_epochs=10,
        warmup=10,
        mlp=(512, 512),
        time_dim=16,
        unet=40,
        unet_lr=(1e-4, 5e-5),
        embed=96,
        pixel_lr=(5e-5, 1e-4),
    ),
    "square": _Scene(
        "An arm puts a square nut on its peg",
        "the nut is around its peg, let go",
        robots=1,
        object_dim=14,
        act_steps=4,
        rollout=400,
        iterations=(201, 301),
        minibatch_size=(10_000, 10_000),
        num_epochs=10,
        warmup=0,
        mlp=(1024, 768),
        time_dim=32,
        unet=64,
        unet_lr=(2e-5, 1e-5),
        embed=160,
        pixel_lr=(1e-5, 1e-5),
    ),
    "transport": _Scene(
        "Two arms hand over a hammer and clear away a cube",
        "the hammer lies in its bin and the cube in that for trash",
        robots=2,
        object_dim=41,
        act_steps=8,
        rollout=400,
        iterations=(201, 201),
        minibatch_size=(10_000, 10_000),
        num_epochs=5,
        warmup=10,
        mlp=(1024, 768),
        time_dim=32,
        unet=64,
        unet_lr=(2e-5, 2e-5),
        embed=160,
        pixel_lr=(1e-5, 1e-5),
    ),
}


def _learning(iterations: int, lr: float, warmup: int, **settings: Any) -> dict[str, Any]:
    """Fine-tuning: both learning rates are constant after their warm-up."""
    return {
        "gamma": 0.999,
        "reset_at_iteration": True,
        "n_critic_warmup_itr": 2,
        "actor_lr": lr,
        "actor_min_lr": lr,
        "actor_lr_warmup_steps": warmup,
        "actor_lr_cycle_steps": iterations,
        "critic_lr_warmup_steps": warmup,
        "critic_lr_cycle_steps": iterations,
        **settings,
    }


def _cloning(epochs: int) -> dict[str, Any]:
    return {
        "minibatch_size": 256,
        "lr": 1e-4,
        "min_lr": 1e-5,
        "lr_warmup_epochs": 100,
        "lr_cycle_epochs": epochs,
    }


def _task(
    name: str,
    scene: _Scene,
    policy: str,
    settings: dict[str, dict[str, Any]],
    *,
    pixels: bool = False,
) -> None:
    kind = "Pixels" if pixels else ""
    register(
        Task(
            name=name,
            description=f"{scene.description} ({policy}{', from pixels' if pixels else ''})",
            env=f"dppo_rllib/{name.split('-')[0].capitalize()}{kind}-v0",
            obs_dim=9 * scene.robots + (0 if pixels else scene.object_dim),
            action_dim=7 * scene.robots,
            max_episode_steps=HORIZONS[name.split("-")[0]],
            success=scene.success,
            settings=settings,
            num_envs=50,
            rollout_fragment_length=scene.rollout,
            epochs=2000 if pixels else 3000,
            iterations=scene.iterations[pixels],
            reference=_REFERENCE,
            requires=REQUIRES,
        )
    )


def _from_states(name: str, scene: _Scene) -> None:
    """cfg/robomimic/{pretrain,finetune}/NAME/{pre,ft_ppo}_{diffusion,gaussian,gmm}_*.yaml."""
    steps = {"horizon_steps": scene.act_steps, "act_steps": scene.act_steps}
    iterations, clone = scene.iterations[0], _cloning(3000)
    learn = {"minibatch_size": scene.minibatch_size[0], "num_epochs": scene.num_epochs}
    diffusion = {
        "mlp_dims": (scene.mlp[0],) * 3,
        "time_dim": scene.time_dim,
        "activation": "Mish",
        **({"cond_mlp_dims": (512, 64)} if name == "square" else {}),
    }
    head = {"mlp_dims": (scene.mlp[0],) * 3}
    ppo = _learning(iterations, 1e-4, scene.warmup, **learn, **steps)
    head_ppo = _learning(iterations, 1e-4, 0 if name == "transport" else scene.warmup, **learn)
    _task(
        name,
        scene,
        "MLP",
        {
            "DiffusionBC": {**clone, **steps, "network": diffusion},
            "DPPO": {**ppo, "clip_param_base": 0.001, "network": diffusion},
            "GaussianBC": {**clone, **steps, "network": head},
            "GaussianPPO": {**head_ppo, **steps, "network": head},
            "GMMBC": {**clone, **steps, "network": head},
            "GMMPPO": {**head_ppo, **steps, "network": head},
        },
    )
    unet = {"type": "unet", "dim": scene.unet, "diffusion_step_embed_dim": 16}
    # The U-Net of Transport sees further than it acts.
    far = {**steps, "horizon_steps": 16} if name == "transport" else steps
    unet_ppo = _learning(iterations, scene.unet_lr[0], scene.warmup, **learn, **far)
    _task(
        f"{name}-unet",
        scene,
        "U-Net",
        {
            "DiffusionBC": {**clone, **far, "network": unet},
            "DPPO": {**unet_ppo, "clip_param_base": 0.001, "network": unet},
        },
    )
    transformer = {"type": "transformer", "embed_dim": scene.embed, "num_heads": 4, "num_layers": 4}
    tuned = {**transformer, "fixed_std": 0.08} if name == "transport" else transformer
    gmm_ppo = head_ppo
    if name == "can":
        gmm_ppo = {**_learning(1000, 1e-5, scene.warmup, **learn)}
    _task(
        f"{name}-transformer",
        scene,
        "transformer, Gaussian or mixture",
        {
            "GaussianBC": {**clone, **steps, "network": transformer},
            "GaussianPPO": {**ppo, "network": tuned},
            "GMMBC": {**clone, **steps, "network": transformer},
            "GMMPPO": {**gmm_ppo, **steps, "network": tuned},
        },
    )


def _from_pixels(name: str, scene: _Scene) -> None:
    """cfg/robomimic/{pretrain,finetune}/NAME/{pre,ft_ppo}_{diffusion,gaussian}_*_img.yaml."""
    steps = {"horizon_steps": scene.act_steps, "act_steps": scene.act_steps}
    iterations, clone = scene.iterations[1], {**_cloning(2000), "augment": True}
    vision = {"vision": {"num_cameras": scene.robots}}
    learn = {"minibatch_size": scene.minibatch_size[1], "num_epochs": 10, "augment": True}
    sampler = {"denoising_steps": 100, "ddim_steps": 5}
    diffusion = {"mlp_dims": (scene.mlp[1],) * 3, "time_dim": 32, "activation": "Mish"}
    head = {"mlp_dims": (scene.mlp[1],) * 3}
    fine = {**sampler, "ft_denoising_steps": 5, "clip_param_base": 0.001}
    ppo = _learning(iterations, scene.pixel_lr[0], 10, **learn, **steps, **vision)
    head_ppo = _learning(iterations, scene.pixel_lr[1], 10, **learn, **steps, **vision)
    _task(
        f"{name}-pixels",
        scene,
        "MLP",
        {
            "DiffusionBC": {**clone, **steps, **vision, **sampler, "network": diffusion},
            "DPPO": {**ppo, **fine, "network": diffusion},
            "GaussianBC": {**clone, **steps, **vision, "network": head},
            "GaussianPPO": {**head_ppo, "network": head},
        },
        pixels=True,
    )
    unet = {"type": "unet", "dim": scene.unet, "diffusion_step_embed_dim": 32}
    far = {**steps, "horizon_steps": 16} if name == "transport" else steps
    unet_ppo = _learning(iterations, scene.unet_lr[1], 10, **learn, **far, **vision)
    _task(
        f"{name}-pixels-unet",
        scene,
        "U-Net",
        {
            "DiffusionBC": {**clone, **far, **vision, **sampler, "network": unet},
            "DPPO": {**unet_ppo, **fine, "network": unet},
        },
        pixels=True,
    )


for _name, _scene in _SCENES.items():
    _from_states(_name, _scene)
    _from_pixels(_name, _scene)
