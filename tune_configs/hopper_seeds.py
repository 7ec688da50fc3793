"""The same settings with five seeds: how much of a result is luck?

    dppo tune tune_configs/hopper_seeds.py

Trials that differ in nothing but `seed` are one line in table and plot: mean and 95 % interval.
"""

from ray import tune

from dppo_rllib.sweeps import Sweep

SWEEP = Sweep(
    "five seeds",
    {"task": "hopper-medium", "seed": tune.grid_search([0, 1, 2, 3, 4])},
    iterations=50,
)
