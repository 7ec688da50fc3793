"""How learners get the trajectories that runners hold."""

from __future__ import annotations

import ray
from ray.rllib.core.learner.training_data import TrainingData

from dppo_rllib.algorithms import collectives
from dppo_rllib.rollouts.trajectories import Trajectories


class TrajectoriesLostError(RuntimeError):
    """Trajectories vanished with the runner that held them; the iteration can be sampled anew."""


def fetch_trajectories(training_data: TrainingData | None) -> list[Trajectories]:
    """The trajectories of an update, from wherever they lie.

    Raises:
        TrajectoriesLostError: This or another learner cannot have its share: all fail together,
            so that none waits for the others.
    """
    assert training_data is not None
    error: Exception | None = None
    try:
        training_data.solve_refs()
    except ray.exceptions.RayError as lost:
        error = lost
    if any(collectives.gather(error is not None)):
        raise TrajectoriesLostError("a runner died before its trajectories were read") from error
    if training_data.batches is not None:
        return list(training_data.batches)
    return [training_data.batch]
