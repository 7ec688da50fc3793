"""Population based training: bad trials take over the weights of good ones and vary their settings.

    dppo tune tune_configs/hopper_pbt.py

8 trials of 100 iterations that go on together. Every 10 iterations the worst quarter copies the
best and goes on with other learning rates and another clip range.
"""

from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from dppo_rllib.sweeps import Sweep

VARIED = {
    "actor_lr": tune.loguniform(1e-4, 1e-3),
    "critic_lr": tune.loguniform(1e-3, 1e-2),
    "clip_param": tune.loguniform(0.01, 0.1),
}

SWEEP = Sweep(
    "population of learning rates and clip ranges",
    {"task": "hopper-medium", **VARIED},
    iterations=100,
    num_samples=8,
    scheduler=PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=10,
        # What is varied by a factor must not leave what can be configured.
        hyperparam_mutations=VARIED,
        custom_explore_fn=lambda config: {
            **config,
            "actor_lr": max(config["actor_lr"], 1e-4),
            "critic_lr": max(config["critic_lr"], 1e-3),
            "clip_param": max(config["clip_param"], 0.01),
        },
    ),
)
