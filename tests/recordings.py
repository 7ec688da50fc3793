"""What scripted experts have recorded, all together."""

from dataclasses import dataclass

import numpy as np

from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.episodes import concatenate
from dppo_rllib.datasets.scripted import record_successes


@dataclass(frozen=True)
class Recording:
    """Successful episodes, the seeds of their environments, and how many were tried."""

    demonstrations: Demonstrations
    seeds: np.ndarray
    attempts: int


def record_all(envs, expert, **kwargs) -> Recording:
    """See `record_successes`."""
    successes = list(record_successes(envs, expert, **kwargs))
    demonstrations = concatenate(success.demonstration for success in successes)
    seeds = np.array([success.seed for success in successes])
    return Recording(demonstrations, seeds, successes[-1].attempts)
