"""PPO on policies that act in chunks, as an RLlib algorithm: its training step."""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    ENV_RUNNER_SAMPLING_TIMER,
    LEARNER_RESULTS,
    LEARNER_UPDATE_TIMER,
    SYNCH_WORKER_WEIGHTS_TIMER,
    TIMERS,
)

from dppo_rllib.algorithms.chunk_algorithm import ChunkAlgorithm, checked
from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy
from dppo_rllib.modules.chunk_module import SHAPES, shapes_of
from dppo_rllib.rollouts.rollout import Rollout, RolloutFailure

_MAX_ATTEMPTS = 5


class ChunkPPO(ChunkAlgorithm):
    """Runners sample chunks and keep their chains; learners run PPO over the chains' steps.

    The driver handles references, counters and metrics only. A base for what trains a particular
    policy.
    """

    def setup(self, config: AlgorithmConfig) -> None:
        """Builds runners and learners, and loads the base policy into them."""
        super().setup(config)
        self._sync_base = True
        if self.config.base_policy is not None:
            self._load_base_policy(load_policy(self.config.base_policy))

    def _load_base_policy(self, checkpoint: PolicyCheckpoint) -> None:
        policy, path = checkpoint.config, self.config.base_policy
        for name, given in shapes_of(*self.spaces[DEFAULT_MODULE_ID]).items():
            if given != (expected := getattr(policy, name)):
                raise ValueError(
                    f"env={self.config.env}: {SHAPES[name]} {given}, but base_policy={path} was "
                    f"made for {expected}"
                )
        parts = {
            part: self._base_component(checkpoint, part.removeprefix("policy."))
            for part in ("policy.actor", "policy.actor_ft", "policy.eta", "critic")
        }
        state = {f"{part}.{k}": v.numpy() for part, ws in parts.items() for k, v in ws.items()}
        self.learner_group.set_weights({DEFAULT_MODULE_ID: state})

    def _base_component(self, checkpoint: PolicyCheckpoint, name: str) -> dict[str, Any]:
        """Weights of a part of the module; none if the policy to start from does not have it."""
        weights = checkpoint.component(name)
        return checkpoint.component("actor") if name == "actor_ft" and not weights else weights

    # --- One iteration -------------------------------------------------------------------------

    def training_step(self) -> None:
        """Samples with the present weights, updates them."""
        for _ in range(_MAX_ATTEMPTS):
            with self.metrics.log_time(
                (TIMERS, SYNCH_WORKER_WEIGHTS_TIMER), reduce="mean", window=1
            ):
                weights = self._acting_weights()
            with self.metrics.log_time(
                (TIMERS, ENV_RUNNER_SAMPLING_TIMER), reduce="mean", window=1
            ):
                rollouts = self._sample(weights)
            self.metrics.aggregate([r.metrics for r in rollouts], key=ENV_RUNNER_RESULTS)
            with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER), reduce="mean", window=1):
                results = self._update(rollouts)
            if all(result is not None for result in results):
                break
            self.metrics.log_value("num_lost_iterations", 1, reduce="lifetime_sum")
        else:
            raise RuntimeError(
                f"trajectories were lost {_MAX_ATTEMPTS} times in a row; see the logs of the "
                "environment runners"
            )
        self.metrics.aggregate(results, key=LEARNER_RESULTS)

    def _acting_weights(self) -> Any:
        """The learners' weights, by reference where runners are remote.

        The base actor goes along the first time, after a restore, and when annealing `K'` has
        changed it; the local runner gets it too, from which restarted runners are filled.
        """
        schedule = self.config.policy_schedule
        # A step that is not trained any more is taken by the base, which has learned till then.
        annealed = self.iteration > 0 and schedule(self.iteration).get(
            "ft_denoising_steps"
        ) != schedule(self.iteration - 1).get("ft_denoising_steps")
        whole = self._sync_base or annealed
        remote = self.env_runner_group.num_remote_env_runners() > 0
        components = ["actor_ft", "eta", *(["actor"] if whole else [])]

        # Lambdas: what is sent to an actor must not be wrapped by a runtime type checker.
        results = self.learner_group.foreach_learner(
            (lambda learner: [ray.put(learner.acting_state(components))])
            if remote
            else (lambda learner: learner.acting_state(components)),
            remote_actor_ids=[0],
        )
        result = checked(results)[0]
        if whole and remote and self.env_runner is not None:
            self.env_runner.set_state(ray.get(result[0]))
        self._sync_base = False
        return result

    def _sample(self, weights: Any) -> list[Rollout]:
        shards, iteration = max(1, self.config.num_learners), self.iteration
        group = self.env_runner_group
        remote = group.num_remote_env_runners() > 0
        for attempt in range(_MAX_ATTEMPTS):
            outcomes = group.foreach_env_runner(
                lambda runner: runner.rollout(shards, iteration, weights),
                local_env_runner=not remote,
                timeout_seconds=None,
            )
            for outcome in outcomes:
                if isinstance(outcome, RolloutFailure):
                    raise RuntimeError(
                        f"environment runner {outcome.worker_index} failed:\n{outcome.traceback}"
                    )
            if outcomes:
                lost = max(1, group.num_remote_env_runners()) - len(outcomes)
                self.metrics.log_value("num_lost_rollouts", lost, reduce="lifetime_sum")
                return outcomes
            time.sleep(2.0**attempt)
            self.restore_env_runners(group)
        raise RuntimeError(
            f"all {self.config.num_env_runners} environment runners died {_MAX_ATTEMPTS} times in "
            "a row; see their logs, and the memory of their machines"
        )

    def _update(self, rollouts: list[Rollout]) -> Any:
        shards = range(len(rollouts[0].shards))
        data = [rollout.shards[i] for i in shards for rollout in rollouts]
        if isinstance(data[0], ray.ObjectRef):
            training_data = TrainingData(batch_refs=data)
        elif self.config.num_learners > 0:
            training_data = TrainingData(batches=data)
        else:
            training_data = TrainingData(batch=data[0])
        return self.learner_group.update(
            training_data=training_data, defer_solve_refs_to_learner=True
        )

    # --- Checkpoints ---------------------------------------------------------------------------

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """RLlib's, without the path of the base policy: a checkpoint holds all its weights."""
        (config,), kwargs = super().get_ctor_args_and_kwargs()
        return ({**config, "base_policy": None},), kwargs

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """RLlib's restore; runners get all weights with the next request."""
        super().restore_from_path(path, *args, **kwargs)
        self._sync_base = True

    def set_state(self, state: Any) -> None:
        """RLlib's state; runners get all weights with the next request."""
        super().set_state(state)
        self._sync_base = True
