"""DPPO in Python: the shipped Hopper policy, two runners, one learner.

python examples/finetune.py
"""

from __future__ import annotations

from dppo_rllib import DPPOConfig
from dppo_rllib.tasks import get_task

ITERATIONS = 3


def main() -> None:
    """Trains, prints the returns, and leaves a policy that needs no Ray to act."""
    config = (
        DPPOConfig()
        .environment("Hopper-v5")
        .training(
            base_policy=get_task("hopper-medium").base_policy,
            max_episode_steps=1000,
            actor_lr=6e-4,
            actor_min_lr=6e-4,
            clip_param=0.02,
            num_epochs=3,
        )
        .env_runners(num_env_runners=2, num_envs_per_env_runner=20, num_cpus_per_env_runner=0.5)
        .learners(num_learners=0)
        .debugging(seed=0)
    )
    algo = config.build_algo()
    for _ in range(ITERATIONS):
        result = algo.train()
        print(result["training_iteration"], result["env_runners"]["episode_return_mean"])
    print("policy:", algo.save_to_path("results/hopper-in-python") + "/policy")
    algo.stop()


if __name__ == "__main__":
    main()
