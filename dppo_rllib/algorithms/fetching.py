"""How learners get the trajectories that runners hold."""

from __future__ import annotations

import ray
from ray.rllib.core.learner.training_data import TrainingData

from dppo_rllib.algorithms import collectives
from dppo_rllib.rollouts.trajectories import Trajectories


def fetch_trajectories(training_data: TrainingData | None) -> list[Trajectories] | None:
    """The trajectories of an update, from wherever they lie.

    Returns:
        None, on all learners, if this or another one cannot have its share, because the runner
        that held it died: so none waits for the others.
    """
    assert training_data is not None
    lost = False
    try:
        training_data.solve_refs()
    except ray.exceptions.RayError:
        lost = True
    if any(collectives.gather(lost)):
        return None
    if training_data.batches is not None:
        return list(training_data.batches)
    return [training_data.batch]
