"""Learning rates and clip range, chosen by Optuna's TPE from what earlier trials have given.

    pip install "dppo_rllib[optuna]"
    dppo tune tune_configs/hopper_optuna.py --concurrent 4

Fewer trials at once are fewer that are chosen without knowing the others' results.
"""

from ray import tune
from ray.tune.search.optuna import OptunaSearch

from dppo_rllib.sweeps import Sweep

SWEEP = Sweep(
    "learning rates and clip range, suggested by Optuna",
    {
        "task": "hopper-medium",
        "actor_lr": tune.loguniform(1e-4, 1e-3),
        "critic_lr": tune.loguniform(1e-3, 1e-2),
        "clip_param": tune.loguniform(0.01, 0.1),
    },
    iterations=30,
    num_samples=24,
    search_alg=OptunaSearch(seed=0),
)
