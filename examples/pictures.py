"""A task that is seen: demonstrations with pictures, pre-training and fine-tuning from them.

    python examples/pictures.py                  # writes demonstrations to ./reach-demonstrations
    dppo --tasks-from examples/pictures.py pretrain pixel-reach --output reach-policy
    dppo --tasks-from examples/pictures.py finetune pixel-reach --from reach-policy

A point is to reach a target that only the picture shows. The demonstrator knows the way but
trembles; the pre-trained policy trembles as well, and DPPO makes it arrive.
"""

from __future__ import annotations

from pathlib import Path

import gymnasium

from dppo_rllib.datasets import write_demonstrations
from dppo_rllib.datasets.collect import record_episodes
from dppo_rllib.environments import reach_expert
from dppo_rllib.environments.pixel_reach import ENV_ID, MAX_EPISODE_STEPS
from dppo_rllib.tasks import Task, register

DEMONSTRATIONS = Path("reach-demonstrations")

if __name__ == "__main__":
    demonstrations = record_episodes(
        lambda: gymnasium.make(ENV_ID), reach_expert(noise=2.0), episodes=300, task="Reach it."
    )
    print(write_demonstrations(demonstrations, DEMONSTRATIONS))
else:
    register(
        Task(
            name="pixel-reach",
            description="A point that is to reach a target in the picture",
            env=f"dppo_rllib.environments:{ENV_ID}",
            obs_dim=2,
            action_dim=2,
            max_episode_steps=MAX_EPISODE_STEPS,
            dataset=DEMONSTRATIONS,
            success="at the target",
            settings={
                "DiffusionBC": {
                    "horizon_steps": 2,
                    "act_steps": 2,
                    "ddim_steps": 5,
                    "network": {"mlp_dims": (128, 128, 128)},
                    # Pictures of 24 x 24 pixels need no more than nine patches.
                    "vision": {
                        "embed_dim": 32,
                        "num_heads": 2,
                        "spatial_emb": 16,
                        "embed_style": "embed1",
                    },
                    "lr_cycle_epochs": 100,
                    "ema_start_epoch": 5,
                },
                "DPPO": {
                    "ft_denoising_steps": 5,
                    "clip_param": 0.1,
                    "clip_param_base": 0.1,
                    "minibatch_size": 2000,
                    "actor_lr": 3e-4,
                    "actor_min_lr": 3e-4,
                    "critic": {"mlp_dims": (64, 64, 64)},
                    "n_critic_warmup_itr": 1,
                },
            },
            num_envs=64,
            rollout_fragment_length=52,
            epochs=40,
            iterations=40,
        )
    )
