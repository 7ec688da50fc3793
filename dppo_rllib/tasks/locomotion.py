"""MuJoCo locomotion: policies pre-trained on mediocre demonstrations learn to run faster."""

from __future__ import annotations

from pathlib import Path

from dppo_rllib.tasks.task import Requirement, Task, register

_DATA = Path(__file__).parent / "data"
_MUJOCO = Requirement(extra="mujoco", module="mujoco")

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
        reference=(
            "DPPO (arXiv 2409.00588), Gym tasks: 40 environments, 500 chunk steps and 80,000 "
            "environment steps an iteration, 1000 iterations. The authors pre-train on D4RL's "
            "hopper-medium-v2 in Hopper-v2; data and simulator here are others, and so are returns."
        ),
        requires=(_MUJOCO,),
    )
)
