"""The actor that steps environments: one policy forward per chunk for all of them."""

from __future__ import annotations

import time
import traceback
from collections.abc import Collection
from typing import Any

import numpy as np
import ray
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.utils import make_callback
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.framework import get_device
from ray.rllib.utils.metrics import (
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    SAMPLE_TIMER,
    WEIGHTS_SEQ_NO,
)

from dppo_rllib.environments import ChunkedVectorEnv
from dppo_rllib.modules.chunk_module import CHAINS, LOG_PROBS, NOISE
from dppo_rllib.modules.precision import autocast
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.rollouts.env_creation import make_configured_env
from dppo_rllib.rollouts.episode_metrics import EpisodeMetrics
from dppo_rllib.rollouts.evaluation import Observations, run_episodes
from dppo_rllib.rollouts.rollout import Rollout, RolloutFailure, StepCount
from dppo_rllib.rollouts.trajectories import Trajectories

SLOWEST_SAMPLE = "sample_slowest"  # beside RLlib's mean: what the others wait for


class ChunkEnvRunner(EnvRunner, Checkpointable):
    """Steps a `ChunkedVectorEnv` with the current policy and records what the learner needs.

    Works as a training runner (`sample`, `rollout`) and as an evaluation runner, where `sample`
    runs whole episodes twice: greedily and with the training noise.
    """

    def __init__(self, *, config: AlgorithmConfig, **kwargs: Any):
        super().__init__(config=config, **kwargs)
        # RLlib tells none to a runner without environments if the configuration has them.
        self.spaces = kwargs.get("spaces") or {
            DEFAULT_MODULE_ID: (self.config.observation_space, self.config.action_space)
        }
        self._callbacks = [cls() for cls in _as_list(self.config.callbacks_class)]
        # Chunks of a few dozen environments are too small to share among threads by default.
        self._threads = max(1, int(self.config.num_cpus_per_env_runner))
        self._device = torch.device(get_device(self.config, self._num_gpus()))
        self._generator = torch.Generator(self._device)
        self._weights_seq_no = 0
        self._evaluations = 0
        self.env: ChunkedVectorEnv | None = None
        self.num_envs = self.config.num_envs_per_env_runner
        smoothing = self.config.metrics_num_episodes_for_smoothing
        window = max(1, -(-smoothing // (self.config.num_env_runners or 1)))
        self._episodes = EpisodeMetrics(self.metrics, self.num_envs, window)
        if (
            self.worker_index is None
            or self.worker_index > 0
            or self.config.create_env_on_local_worker
            or self.config.num_env_runners == 0
        ):
            self.make_env()
        self.module: Any = None
        self.make_module()

    # --- What RLlib asks for -------------------------------------------------------------------

    def make_env(self) -> None:
        """Creates the environments anew."""
        if self.env is not None:
            self.env.close()
        context = EnvContext(
            self.config.env_config,
            worker_index=self.worker_index or 0,
            num_workers=self.num_workers,
        )
        self.env = make_configured_env(self.config, context, self._device)
        self._needs_reset = True
        self._call_back(
            "on_environment_created", env=self.env, env_context=context, env_runner=self
        )

    def make_module(self) -> None:
        """Creates the policy, without the critic."""
        spec = self.config.get_rl_module_spec(
            env=self.env, spaces=self.get_spaces(), inference_only=True
        )
        self.module = spec.build()
        self.module.to(self._device)

    def get_spaces(self) -> dict[str, Any]:
        """Spaces of the environment and of the module (which are the same)."""
        if self.env is None:
            return self.spaces
        single = (self.env.single_observation_space, self.env.single_action_space)
        return {
            INPUT_ENV_SPACES: (self.env.observation_space, self.env.action_space),
            INPUT_ENV_SINGLE_SPACES: single,
            DEFAULT_MODULE_ID: single,
        }

    def assert_healthy(self) -> None:
        """Raises AssertionError if the constructor did not finish."""
        assert self.module is not None

    def stop(self) -> None:
        """Closes the environments."""
        if self.env is not None:
            self.env.close()

    def get_metrics(self) -> Any:
        """What was logged since the last call."""
        return self.metrics.reduce()

    # --- Sampling ------------------------------------------------------------------------------

    def sample(
        self,
        *,
        num_timesteps: int | None = None,
        num_episodes: int | None = None,
        explore: bool | None = None,
        random_actions: bool = False,
        force_reset: bool = False,
    ) -> list[Any]:
        """RLlib's interface: trajectories of one iteration, or evaluation episodes.

        Args:
            num_timesteps: Environment steps to take at least; rounded up to whole chunk steps, or,
                when evaluating, to whole episodes.
            num_episodes: Evaluate this many episodes greedily and as many with noise.
            explore: Accepted for RLlib; an iteration always explores, evaluation does both.
            random_actions: Not supported.
            force_reset: Restart all episodes first.
        """
        if random_actions:
            raise ValueError("random_actions=True: DPPO learns only from actions of its policy")
        if self.env is None:
            raise ValueError(f"worker {self.worker_index} was built without an environment")
        if self.config.in_evaluation or num_episodes is not None:
            # RLlib deals episodes out, and may have none for a runner.
            episodes = self.num_envs if num_episodes is None else num_episodes
            return [StepCount(self._evaluate(episodes) if episodes else 0)]
        self._needs_reset |= force_reset
        steps = self.config.get_rollout_fragment_length(self.worker_index or 0)
        if num_timesteps is not None:
            steps = -(-num_timesteps // (self.num_envs * self.config.act_steps))
        return [self._collect(steps)]

    def rollout(self, num_shards: int, iteration: int, weights: Any) -> Rollout | RolloutFailure:
        """Takes the weights in, samples one iteration, and gives it away shard by shard.

        Weights come with the request, so that no rollout is ever made with stale ones. All
        randomness follows from (seed, worker, iteration): a resumed run draws what the unbroken
        one would have drawn.

        Args:
            num_shards: How many learners there are.
            iteration: Training iteration, from 0.
            weights: A state as from the learner, or a list with a reference to one.
        """
        try:
            if isinstance(weights, list):
                weights = ray.get(weights[0])
            self.set_state(weights)
            self._seed_iteration(iteration)
            trajectories = self.sample()[0]
            # A learner in this process takes tensors where they are.
            remote = bool(self.worker_index)
            shards = (trajectories.on_host() if remote else trajectories).split(num_shards)
            return Rollout(
                shards=[ray.put(s) for s in shards] if remote else shards,
                metrics=self.get_metrics(),
            )
        except Exception:
            return RolloutFailure(self.worker_index or 0, traceback.format_exc())

    def _num_gpus(self) -> float:
        """Of this process; without runners of their own environments are on the learner's."""
        if self.worker_index:
            return self.config.num_gpus_per_env_runner
        alone = self.config.num_env_runners == 0 and self.config.num_learners == 0
        return self.config.num_gpus_per_learner if alone else 0

    def _seed_iteration(self, iteration: int) -> None:
        if self._seed is None:
            self._generator.seed()
            self._reset_seed = None
        else:
            words = np.random.SeedSequence([self._seed, iteration]).generate_state(2)
            self._generator.manual_seed(int(words[0]))
            self._reset_seed = int(words[1] >> 1)
        self._needs_reset |= self.config.reset_at_iteration

    def _reset(self) -> Observations:
        assert self.env is not None
        obs, _ = self.env.reset(seed=getattr(self, "_reset_seed", self._seed))
        self._obs = obs
        self._is_first = np.ones(self.num_envs, bool)
        self._episodes.restart()
        self._needs_reset = False
        return obs

    def _forward(self, obs: Observations, *, explore: bool, score: bool) -> dict[str, torch.Tensor]:
        batch = {
            Columns.OBS: obs,
            NOISE: self.module.policy.draw_noise(self.num_envs, self._generator),
        }
        forward = self.module.forward_exploration if explore else self.module.forward_inference
        with autocast(self._device, self.config.mixed_precision):
            return forward(batch, score=score)

    def _collect(self, steps: int) -> Trajectories:
        env = self.env
        assert env is not None
        start = time.perf_counter()
        with torch_threads(self._threads):
            obs = self._reset() if self._needs_reset else self._obs
            columns: dict[str, list[Any]] = {k: [] for k in _STEP_COLUMNS}
            histories = {k: v.new_empty((steps, *v.shape)) for k, v in obs.items()}
            finals: list[tuple[int, np.ndarray, Observations]] = []
            for t in range(steps):
                out = self._forward(obs, explore=True, score=True)
                for key, value in obs.items():
                    histories[key][t] = value
                chunk = out[Columns.ACTIONS][:, : self.config.act_steps]
                obs, reward, terminated, truncated, infos = env.step(chunk)
                values = (out[CHAINS], out[LOG_PROBS], reward)
                flags = (terminated, truncated, self._is_first, infos["env_steps"])
                for name, value in zip(_STEP_COLUMNS, (*values, *flags), strict=True):
                    columns[name].append(value)
                if truncated.any():
                    rows = np.flatnonzero(truncated & ~terminated)
                    finals.append((t, rows, {k: v[rows] for k, v in infos["final_obs"].items()}))
                self._is_first = terminated | truncated
                self._episodes.step(reward, self._is_first, infos)
            self._obs = obs
        seconds = time.perf_counter() - start
        self.metrics.log_value(SAMPLE_TIMER, seconds, reduce="mean", window=1)
        self.metrics.log_value(SLOWEST_SAMPLE, seconds, reduce="max", window=1)
        trajectories = Trajectories(
            obs=histories,
            next_obs=obs,
            final_obs={
                k: torch.cat([last[k] for _, _, last in finals] or [v[:0]]) for k, v in obs.items()
            },
            final_index=np.array(
                [(t, n) for t, rows, _ in finals for n in rows], dtype=np.int64
            ).reshape(-1, 2),
            env_ids=np.arange(self.num_envs) + (self.worker_index or 0) * self.num_envs,
            weights_seq_no=self._weights_seq_no,
            **{name: _stacked(values) for name, values in columns.items()},
        )
        ended = trajectories.terminated | trajectories.truncated
        self._log_sample(int(trajectories.env_steps.sum()), int(ended.sum()))
        self._call_back(
            "on_sample_end",
            env_runner=self,
            metrics_logger=self.metrics,
            samples=[trajectories],
        )
        return trajectories

    def _evaluate(self, num_episodes: int) -> int:
        assert self.env is not None
        steps = 0
        # Apart from those of other workers, and of the last call, until there are new weights.
        words = np.random.SeedSequence([self._seed or 0, self._evaluations]).generate_state(2)
        self._generator.manual_seed(int(words[0]))
        self._evaluations += 1
        for explore, prefix in ((False, "deterministic"), (True, "stochastic")):

            def act(obs: Observations, explore: bool = explore) -> torch.Tensor:
                chunk = self._forward(obs, explore=explore, score=False)[Columns.ACTIONS]
                return chunk[:, : self.config.act_steps]

            with (
                self.metrics.log_time(SAMPLE_TIMER, reduce="mean", window=1),
                torch_threads(self._threads),
            ):
                results = run_episodes(self.env, act, num_episodes, seed=int(words[1] >> 1))
            steps += results.env_steps
            self._episodes.log_evaluation(
                prefix, results, as_training=explore == self.config.explore
            )
        self._needs_reset = True
        self._log_sample(steps, num_episodes)
        return steps

    def _log_sample(self, steps: int, episodes: int) -> None:
        self._episodes.log_sample(steps, episodes)
        self.metrics.log_value(WEIGHTS_SEQ_NO, self._weights_seq_no, window=1)

    def _call_back(self, which: str, **kwargs: Any) -> None:
        if which == "on_environment_created":
            kwargs["metrics_logger"] = self.metrics
        make_callback(
            which,
            callbacks_objects=self._callbacks,
            callbacks_functions=getattr(self.config, f"callbacks_{which}"),
            kwargs=kwargs,
        )

    # --- State ---------------------------------------------------------------------------------

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Weights with their version, and the lifetime step count."""
        state: dict[str, Any] = {
            NUM_ENV_STEPS_SAMPLED_LIFETIME: self.num_env_steps_sampled_lifetime
        }
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(
                components=self._get_subcomponents(COMPONENT_RL_MODULE, components),
                not_components=self._get_subcomponents(COMPONENT_RL_MODULE, not_components),
                **kwargs,
            )
            state[WEIGHTS_SEQ_NO] = self._weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads weights: a module's own state, or one by module id, or a reference to either."""
        if COMPONENT_RL_MODULE in state:
            module_state = state[COMPONENT_RL_MODULE]
            if isinstance(module_state, ray.ObjectRef):
                module_state = ray.get(module_state)
            module_state = module_state.get(DEFAULT_MODULE_ID, module_state)
            self.module.set_state(module_state)
            self._weights_seq_no = state.get(WEIGHTS_SEQ_NO, 0)
            self._evaluations = 0
        if NUM_ENV_STEPS_SAMPLED_LIFETIME in state:
            self.num_env_steps_sampled_lifetime = state[NUM_ENV_STEPS_SAMPLED_LIFETIME]

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        """Arguments that build this runner again."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Any]]:
        """The policy."""
        return [(COMPONENT_RL_MODULE, self.module)]


_STEP_COLUMNS = (
    "chains",
    "log_probs",
    "reward",
    "terminated",
    "truncated",
    "is_first",
    "env_steps",
)


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _stacked(values: list[Any]) -> Any:
    """One more axis in front."""
    return torch.stack(values) if isinstance(values[0], torch.Tensor) else np.stack(values)
