"""MuJoCo locomotion: policies pre-trained on mediocre demonstrations learn to run faster.

`hopper-medium`, `walker2d-medium` and `halfcheetah-medium` begin with demonstrations; `…-scratch`
learns from random weights, one action at a time. `hopper-medium@v4`, and so on, is the same in
Gymnasium's older environment.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dppo_rllib.tasks.task import Requirement, Task, Variant, register

_DATA = Path(__file__).parent / "data"
_SHIPPED = ("hopper",)  # robots whose demonstrations and policy come along
_MUJOCO = Requirement(extra="mujoco", module="mujoco")
# cfg/gym/pretrain/{hopper,halfcheetah}-medium-v2/pre_gaussian_mlp.yaml, with chunks as of the
# diffusion policy.
_CLONED_GAUSSIAN = {
    "mlp_dims": (256, 256, 256),
    "activation": "Mish",
    "residual": False,
    "fixed_std": 0.1,
    "learn_fixed_std": False,
}
# cfg/gym/pretrain/walker2d-medium-v2/pre_gaussian_mlp.yaml: no fixed_std, so the network gives it.
_WALKERS_GAUSSIAN = {
    "mlp_dims": (256, 256),
    "activation": "ReLU",
    "residual": False,
    "fixed_std": None,
    "learn_fixed_std": False,
    "std_max": 1.0,
}
# cfg/gym/scratch/NAME-v2/ppo_{diffusion,gaussian}_mlp.yaml
_SCRATCH = {"horizon_steps": 1, "act_steps": 1, "clip_param": 0.1, "num_epochs": 10}


def _older(env: str) -> dict[str, Variant]:
    """The version that D4RL's data sets were recorded in."""
    return {"v4": Variant(env.replace("-v5", "-v4"), requires=(_MUJOCO,))}


def _medium(
    robot: str, env: str, description: str, dims: tuple[int, int], gaussian: Mapping[str, Any]
) -> Task:
    """Fine-tuning of what has seen mediocre demonstrations.

    The defaults of DPPOConfig and DiffusionBCConfig are the authors' settings for all three robots
    (cfg/gym/finetune/NAME-v2/ft_ppo_diffusion_mlp.yaml and
    cfg/gym/pretrain/NAME-medium-v2/pre_diffusion_mlp.yaml).
    """
    name, shipped = f"{robot}-medium", robot in _SHIPPED
    cloning = {"network": gaussian, "lr": 1e-4, "min_lr": 1e-4}
    return register(
        Task(
            name=name,
            description=f"{description}, from mediocre demonstrations",
            env=env,
            obs_dim=dims[0],
            action_dim=dims[1],
            max_episode_steps=1000,
            dataset=_DATA / name / "demonstrations" if shipped else None,
            base_policy=_DATA / name / "policy" if shipped else None,
            epochs=200,
            iterations=1000,
            settings={"GaussianBC": cloning, "GMMBC": cloning},
            reference=(
                "DPPO (arXiv 2409.00588), Gym tasks: 40 environments, 500 chunk steps and 80,000 "
                "environment steps an iteration, 1000 iterations. The authors pre-train on D4RL's "
                f"{name}-v2 in {env.split('-')[0]}-v2; data and simulator here are others, and so "
                "are returns."
            ),
            requires=(_MUJOCO,),
            variants=_older(env),
        )
    )


def _scratch(
    robot: str, env: str, description: str, dims: tuple[int, int], iterations: int
) -> Task:
    """Learning from random weights; the authors' Gaussian walker stops after 301 iterations."""
    return register(
        Task(
            name=f"{robot}-scratch",
            description=f"{description}, from random weights, one action at a time",
            env=env,
            obs_dim=dims[0],
            action_dim=dims[1],
            max_episode_steps=1000,
            from_scratch=True,
            num_envs=10,
            rollout_fragment_length=1000,
            iterations=iterations,
            settings={
                "DPPO": {
                    **_SCRATCH,
                    "denoising_steps": 10,
                    "ft_denoising_steps": 10,
                    "gamma_denoising": 1.0,
                    "clip_param_base": 0.1,
                    "minibatch_size": 5000,
                },
                "GaussianPPO": {
                    **_SCRATCH,
                    "network": {
                        "mlp_dims": (512, 512, 512),
                        "activation": "ReLU",
                        "residual": False,
                        "fixed_std": None,
                        "learn_fixed_std": False,
                        "std_max": 1.0,
                    },
                    "minibatch_size": 500,
                },
            },
            reference=(
                "DPPO (arXiv 2409.00588), training from scratch: K = K' = 10, Ta = 1, 10 "
                "environments, 1,000 steps an iteration."
            ),
            requires=(_MUJOCO,),
            variants=_older(env),
        )
    )


_HOPPER = ("hopper", "Hopper-v5", "One-legged hopper", (11, 3))
_WALKER2D = ("walker2d", "Walker2d-v5", "Two-legged walker", (17, 6))
_HALFCHEETAH = ("halfcheetah", "HalfCheetah-v5", "Half a cheetah", (17, 6))

HOPPER_MEDIUM = _medium(*_HOPPER, _CLONED_GAUSSIAN)
WALKER2D_MEDIUM = _medium(*_WALKER2D, _WALKERS_GAUSSIAN)
HALFCHEETAH_MEDIUM = _medium(*_HALFCHEETAH, _CLONED_GAUSSIAN)

HOPPER_SCRATCH = _scratch(*_HOPPER, iterations=301)
WALKER2D_SCRATCH = _scratch(*_WALKER2D, iterations=501)
HALFCHEETAH_SCRATCH = _scratch(*_HALFCHEETAH, iterations=501)
