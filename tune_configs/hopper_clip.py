"""Two settings that the paper calls delicate, on a grid: clip range × denoising discount.

    dppo tune tune_configs/hopper_clip.py

12 trials of 30 iterations. The discount says how much of a chunk's advantage the noisier denoising
steps get.
"""

from ray import tune

from dppo_rllib.sweeps import Sweep

SWEEP = Sweep(
    "clip range × denoising discount",
    {
        "task": "hopper-medium",
        "clip_param": tune.grid_search([0.01, 0.03, 0.1]),
        "gamma_denoising": tune.grid_search([0.9, 0.95, 0.99, 1.0]),
    },
    iterations=30,
)
