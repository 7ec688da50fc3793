"""One trial of a sweep: the fine-tuning of a task with the settings that were drawn for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN
from ray.tune.execution.placement_groups import PlacementGroupFactory

from dppo_rllib.algorithms.apply_settings import apply_settings
from dppo_rllib.algorithms.ppo_config import ChunkPPOConfig
from dppo_rllib.algorithms.whole_checkpoints import WholeCheckpoints
from dppo_rllib.checkpoints import PolicyCheckpoint
from dppo_rllib.checkpoints.find import find_policy
from dppo_rllib.tasks import Task, get_task, register, task_names

# Of a drawn configuration, what says how to begin; all else are settings of the algorithm.
_START = ("task", "base_policy", "algorithm", "num_env_runners")
_OF_TUNE = "config"  # of a result, what Tune adds by itself


def trial_config(drawn: Mapping[str, Any]) -> ChunkPPOConfig:
    """What a trial runs.

    Without `num_env_runners` and `num_learners` everything is in one process: as many trials at
    once as there are cores waste less than trials that divide a core among processes.

    Raises:
        ValueError: A key is no setting, or a value has the wrong type.
        FileNotFoundError: There is no policy to start from.
    """
    policy = drawn.get("base_policy")
    config = get_task(drawn["task"]).finetune_config(
        None if policy is None else find_policy(policy),
        algorithm=drawn.get("algorithm"),
        num_env_runners=drawn.get("num_env_runners", 0),
    )
    config.learners(num_learners=0)
    config.debugging(log_level="ERROR")
    apply_settings(config, {k: v for k, v in drawn.items() if k not in _START})
    return config


def learn_tasks(tasks: Sequence[Task]) -> None:
    """Registers tasks that this process does not know.

    Those that it knows stay: where this package's data are may differ from machine to machine.
    """
    for task in tasks:
        if task.name not in task_names():
            register(task)


class TaskTrial(WholeCheckpoints):
    """Runs whatever algorithm a drawn configuration asks for.

    A Trainable around the algorithm, so that trials of one sweep may run different ones. Its
    checkpoints are those of the algorithm.
    """

    def setup(self, config: dict[str, Any], tasks: Sequence[Task] = ()) -> None:
        """Builds the algorithm.

        Args:
            config: What was drawn.
            tasks: Tasks that this process may not know yet.
        """
        learn_tasks(tasks)
        built = trial_config(config)
        # In the trial's directory, or the algorithm makes one of its own elsewhere.
        self.algorithm = built.algo_class(config=built, storage=self._storage)

    def step(self) -> dict[str, Any]:
        """One training iteration."""
        result = self.algorithm.train()
        # Tune takes a metric that is missing for a typo; here no episode may have ended yet.
        result[ENV_RUNNER_RESULTS].setdefault(EPISODE_RETURN_MEAN, math.nan)
        return {key: value for key, value in result.items() if key != _OF_TUNE}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """The algorithm's checkpoint but for its policy."""
        self.algorithm.save_checkpoint(checkpoint_dir)

    def get_policy_checkpoint(self) -> PolicyCheckpoint:
        """The algorithm's."""
        policy: PolicyCheckpoint = self.algorithm.get_policy_checkpoint()
        return policy

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Goes on from a checkpoint, also of another trial; settings stay this trial's."""
        self.algorithm.restore_from_path(checkpoint)

    def cleanup(self) -> None:
        """Ends runners and learners."""
        self.algorithm.stop()

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory:
        """What the algorithm asks for."""
        built = trial_config(config)
        return built.algo_class.default_resource_request(built.to_dict())
