"""What our algorithms add to RLlib's: success rates, saved policies."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import torch
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_LEN_MEAN,
    EPISODE_RETURN_MEAN,
    NUM_EPISODES,
)
from ray.tune.registry import ENV_CREATOR, _global_registry

from dppo_rllib.algorithms.whole_checkpoints import WholeCheckpoints, storage_path
from dppo_rllib.checkpoints import PolicyCheckpoint
from dppo_rllib.checkpoints.policy_checkpoint import POLICY, send_policy
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.chunk_module import shapes_of
from dppo_rllib.modules.policies import policy_config_from_dict
from dppo_rllib.rollouts.episode_metrics import LENGTH_SUM, NUM_SUCCESSES, RETURN_SUM
from dppo_rllib.rollouts.evaluation import success_interval


class ChunkAlgorithm(WholeCheckpoints, Algorithm):
    """An algorithm that trains a policy that acts in chunks."""

    def setup(self, config: AlgorithmConfig) -> None:
        """RLlib's, which hides why remote environment runners cannot be built.

        Raises:
            Exception: What the first of them raised.
        """
        try:
            super().setup(config)
        except IndexError as error:  # RLlib's: no runner is there to tell its spaces
            for runners in filter(None, (self.config, self.evaluation_config)):
                runners.env_runner_cls(config=runners, worker_index=1, num_workers=1).stop()
            raise RuntimeError(
                "environment runners cannot be built on their machines; see their logs"
            ) from error

    def evaluate(self, parallel_train_future: Any = None) -> dict[str, Any]:
        """RLlib's evaluation, with success rates and their 95 % Wilson intervals added."""
        results = super().evaluate(parallel_train_future)
        runner_results = results.get(ENV_RUNNER_RESULTS, {})
        for mode in ("deterministic", "stochastic"):
            found = runner_results.get(mode, {})
            if RETURN_SUM in found:
                for mean, total in (
                    (EPISODE_RETURN_MEAN, RETURN_SUM),
                    (EPISODE_LEN_MEAN, LENGTH_SUM),
                ):
                    found[mean] = found[total] / found[NUM_EPISODES]
            if NUM_SUCCESSES in found:
                successes, episodes = int(found[NUM_SUCCESSES]), int(found[NUM_EPISODES])
                low, high = success_interval(successes, episodes)
                found["success_rate"] = successes / episodes
                found["success_rate_low"], found["success_rate_high"] = low, high
        return results

    def get_policy_checkpoint(self) -> PolicyCheckpoint:
        """The present policy, ready to be saved, deployed or fine-tuned further."""
        config = self.config
        state = self.learner_group.get_weights([DEFAULT_MODULE_ID])[DEFAULT_MODULE_ID]
        spaces = (config.observation_space, config.action_space)
        if self.spaces is not None:
            spaces = self.spaces[DEFAULT_MODULE_ID]
        policy = config.policy_config(**shapes_of(*spaces))
        scheduled = {k: v.item() for k, v in state.items() if "." not in k}
        return PolicyCheckpoint(
            config=policy_config_from_dict(policy.to_dict() | scheduled),
            weights={
                k.removeprefix("policy."): torch.tensor(v, dtype=torch.float32)
                for k, v in state.items()
                if k.startswith(("policy.", "critic."))
            },
            normalization=(
                Normalization.from_dict(config.normalization) if config.normalization else None
            ),
            task=config.task,
            env=_described_environment(config),
            critic=dict(config.critic) if hasattr(config, "critic") else None,
            provenance={"algorithm": type(self).__name__, "iterations": self.iteration},
        )

    @classmethod
    def from_checkpoint(cls, path: Any, filesystem: Any = None, **kwargs: Any) -> Any:
        """RLlib's, which also takes a relative path."""
        source = storage_path(filesystem, path)
        return super().from_checkpoint(source.path, source.filesystem, **kwargs)

    def save_to_path(self, path: Any = None, *, filesystem: Any = None, **kwargs: Any) -> str:
        """RLlib's checkpoint with the policy beside it, in `policy/`, which is written last."""
        target = storage_path(filesystem, tempfile.mkdtemp() if path is None else path)
        super().save_to_path(target.path, filesystem=target.filesystem, **kwargs)
        send_policy(self.get_policy_checkpoint(), target / POLICY)
        return str(target)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Tune's hook: all but the policy, which `save` adds."""
        options = {"use_msgpack": self.config._use_msgpack_checkpoints}
        super().save_to_path(checkpoint_dir, **options)


def checked(results: Any) -> list[Any]:
    """What learners answered.

    Raises:
        Exception: What the first of them raised that raised; RLlib hands it over as a value.
    """
    if not results.result_or_errors:
        raise RuntimeError("no learner is alive; see their logs")
    for result in results.result_or_errors:
        if not result.ok:
            raise result.get()
    return [result.get() for result in results.result_or_errors]


def _described_environment(config: AlgorithmConfig) -> dict[str, Any] | None:
    """The environment as a policy's file can name it, if it can."""
    if not isinstance(config.env, str) or _global_registry.contains(ENV_CREATOR, config.env):
        return None
    described = {
        "id": config.env,
        "config": dict(config.env_config),
        "max_episode_steps": config.max_episode_steps,
    }
    try:
        json.dumps(described)
    except TypeError:
        return None
    return described
