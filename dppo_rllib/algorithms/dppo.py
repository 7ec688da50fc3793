"""DPPO as an RLlib algorithm: its training step."""

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

from dppo_rllib.algorithms.diffusion_algorithm import DiffusionAlgorithm, checked
from dppo_rllib.algorithms.dppo_config import DPPOConfig
from dppo_rllib.algorithms.schedules import step_value_at
from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy
from dppo_rllib.rollouts.rollout import Rollout, RolloutFailure

_MAX_ATTEMPTS = 5


class DPPO(DiffusionAlgorithm):
    """Diffusion Policy Policy Optimization (Ren et al. 2024, arXiv 2409.00588).

    Runners sample chunks and keep their denoising chains; learners run PPO over the last
    `ft_denoising_steps` steps. The driver handles references, counters and metrics only.
    """

    @classmethod
    def get_default_config(cls) -> DPPOConfig:
        """`DPPOConfig()`."""
        return DPPOConfig()

    def setup(self, config: AlgorithmConfig) -> None:
        """Builds runners and learners, and loads the base policy into them."""
        super().setup(config)
        self._sync_base = True
        if self.config.base_policy is not None:
            self._load_base_policy(load_policy(self.config.base_policy))

    def _load_base_policy(self, checkpoint: PolicyCheckpoint) -> None:
        policy, path = checkpoint.config, self.config.base_policy
        obs_space, action_space = self.spaces[DEFAULT_MODULE_ID]
        for name, given, expected in (
            ("observation dimension", obs_space["state"].shape[-1], policy.obs_dim),
            ("action dimension", action_space.shape[-1], policy.action_dim),
        ):
            if given != expected:
                raise ValueError(
                    f"env={self.config.env}: {name} {given}, but base_policy={path} was made for "
                    f"{expected}"
                )
        base = checkpoint.component("actor")
        parts = {
            "policy.actor": base,
            "policy.actor_ft": checkpoint.component("actor_ft") or base,
            "critic": checkpoint.component("critic"),
        }
        state = {f"{part}.{k}": v.numpy() for part, ws in parts.items() for k, v in ws.items()}
        self.learner_group.set_weights({DEFAULT_MODULE_ID: state})

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
        schedule = self.config.ft_denoising_steps
        annealed = self.iteration > 0 and step_value_at(schedule, self.iteration) != step_value_at(
            schedule, self.iteration - 1
        )
        whole = self._sync_base or annealed
        remote = self.env_runner_group.num_remote_env_runners() > 0
        components = ["actor", "actor_ft"] if whole else ["actor_ft"]

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
