"""MuJoCo locomotion: policies pre-trained on mediocre demonstrations learn to run faster."""

from __future__ import annotations

from pathlib import Path

from dppo_rllib.tasks.task import Requirement, Task, register

_DATA = Path(__file__).parent / "data"
_MUJOCO = Requirement(extra="mujoco", module="mujoco")
# cfg/gym/pretrain/hopper-medium-v2/pre_gaussian_mlp.yaml, with chunks as of the diffusion policy.
_GAUSSIAN_BC = {
    "network": {
        "mlp_dims": (256, 256, 256),
        "activation": "Mish",
        "residual": False,
        "fixed_std": 0.1,
        "learn_fixed_std": False,
    },
    "lr": 1e-4,
    "min_lr": 1e-4,
}
# cfg/gym/scratch/hopper-v2/ppo_{diffusion,gaussian}_mlp.yaml
_SCRATCH = {"horizon_steps": 1, "act_steps": 1, "clip_param": 0.1, "num_epochs": 10}

# The defaults of DPPOConfig and DiffusionBCConfig are the authors' settings for this task
# (cfg/gym/finetune/hopper-v2/ft_ppo_diffusion_mlp.yaml and
# cfg/gym/pretrain/hopper-medium-v2/pre_diffusion_mlp.yaml).
HOPPER_MEDIUM = register(
    Task(
        name="hopper-medium",
        description="One-legged hopper, from mediocre demonstrations to fast hopping",
        env="Hopper-v5",
        obs_dim=11,
        action_dim=3,
        max_episode_steps=1000,
        dataset=_DATA / "hopper-medium" / "demonstrations",
        base_policy=_DATA / "hopper-medium" / "policy",
        epochs=200,
        iterations=1000,
        settings={"GaussianBC": _GAUSSIAN_BC, "GMMBC": _GAUSSIAN_BC},
        reference=(
            "DPPO (arXiv 2409.00588), Gym tasks: 40 environments, 500 chunk steps and 80,000 "
            "environment steps an iteration, 1000 iterations. The authors pre-train on D4RL's "
            "hopper-medium-v2 in Hopper-v2; data and simulator here are others, and so are returns."
        ),
        requires=(_MUJOCO,),
    )
)

HOPPER_SCRATCH = register(
    Task(
        name="hopper-scratch",
        description="One-legged hopper, from random weights, one action at a time",
        env="Hopper-v5",
        obs_dim=11,
        action_dim=3,
        max_episode_steps=1000,
        from_scratch=True,
        num_envs=10,
        rollout_fragment_length=1000,
        iterations=301,
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
            "DPPO (arXiv 2409.00588), training from scratch: K = K' = 10, Ta = 1, 10 environments, "
            "1,000 steps an iteration."
        ),
        requires=(_MUJOCO,),
    )
)
