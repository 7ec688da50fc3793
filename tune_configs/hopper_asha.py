"""Learning rates, clip range, noise and K' at random; ASHA ends the worse trials early.

    dppo tune tune_configs/hopper_asha.py

32 trials; of each three that have run 5, 15 and 45 iterations only the best goes on.
"""

from ray import tune
from ray.tune.schedulers import ASHAScheduler

from dppo_rllib.sweeps import Sweep

ITERATIONS = 100

SWEEP = Sweep(
    "learning rates, clip range, noise, K'",
    {
        "task": "hopper-medium",
        "actor_lr": tune.loguniform(1e-4, 1e-3),
        "critic_lr": tune.loguniform(1e-3, 1e-2),
        "clip_param": tune.loguniform(0.01, 0.1),
        "min_sampling_denoising_std": tune.uniform(0.05, 0.2),
        "ft_denoising_steps": tune.choice([1, 5, 10, 20]),
    },
    iterations=ITERATIONS,
    num_samples=32,
    scheduler=ASHAScheduler(max_t=ITERATIONS, grace_period=5, reduction_factor=3),
)
