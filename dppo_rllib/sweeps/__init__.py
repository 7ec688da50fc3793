"""Layer 7: sweeps, many trials of a task that differ in their settings.

A sweep is one file with `SWEEP = Sweep(…)`, given to `dppo tune`.
"""

from dppo_rllib.sweeps.check import check_sweep
from dppo_rllib.sweeps.sweep import RETURN, SUCCESS, Sweep, load_sweep
from dppo_rllib.sweeps.trial import TaskTrial, trial_config

__all__ = [
    "RETURN",
    "SUCCESS",
    "Sweep",
    "TaskTrial",
    "check_sweep",
    "load_sweep",
    "trial_config",
]
