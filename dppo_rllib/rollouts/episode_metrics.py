"""Episodes as a runner sees them go by, logged under RLlib's keys."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from ray.rllib.core import DEFAULT_AGENT_ID, DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    EPISODE_DURATION_SEC_MEAN,
    EPISODE_LEN_MAX,
    EPISODE_LEN_MEAN,
    EPISODE_LEN_MIN,
    EPISODE_RETURN_MAX,
    EPISODE_RETURN_MEAN,
    EPISODE_RETURN_MIN,
    NUM_AGENT_STEPS_SAMPLED,
    NUM_AGENT_STEPS_SAMPLED_LIFETIME,
    NUM_ENV_STEPS_SAMPLED,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
    NUM_EPISODES,
    NUM_EPISODES_LIFETIME,
)
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger

from dppo_rllib.rollouts.evaluation import EpisodeResults

NUM_INVALID_EPISODES = "num_invalid_episodes"
NUM_SUCCESSES = "num_successes"
SUCCESS_RATE = "success_rate"
RETURN_SUM, LENGTH_SUM = "episode_return_sum", "episode_len_sum"


class EpisodeMetrics:
    """Adds up returns, lengths and successes of the episodes under way; logs those that end.

    Args:
        logger: The runner's.
        num_envs: Environments stepped together.
        window: Episodes over which means, minima and maxima are taken.
    """

    def __init__(self, logger: MetricsLogger, num_envs: int, window: int):
        self._logger = logger
        self._window = window
        self._num_envs = num_envs
        self.restart()

    def restart(self) -> None:
        """All episodes begin anew."""
        self._returns, self._lengths = np.zeros(self._num_envs), np.zeros(self._num_envs, int)
        self._successes = np.zeros(self._num_envs, bool)
        self._started = np.full(self._num_envs, time.perf_counter())

    def step(
        self,
        reward: Float[np.ndarray, " N"],
        done: Bool[np.ndarray, " N"],
        infos: dict[str, Any],
    ) -> None:
        """Counts one chunk step of all environments."""
        self._returns += reward
        self._lengths += infos["env_steps"]
        if "success" in infos:
            self._successes |= infos["success"]
        if invalid := int(infos["invalid"].sum()):
            self._logger.log_value(NUM_INVALID_EPISODES, invalid, reduce="lifetime_sum")
        now = time.perf_counter()
        for i in np.flatnonzero(done):
            self._log_episode(int(self._lengths[i]), float(self._returns[i]))
            seconds = now - self._started[i]
            self._logger.log_value(EPISODE_DURATION_SEC_MEAN, seconds, window=self._window)
            if "success" in infos:
                success = float(self._successes[i])
                self._logger.log_value(SUCCESS_RATE, success, window=self._window)
        self._returns[done], self._lengths[done], self._successes[done] = 0, 0, False
        self._started[done] = now

    def log_sample(self, steps: int, episodes: int) -> None:
        """Logs what a sample took: environment steps, and episodes that ended in it."""
        log, lifetime = self._logger.log_value, "lifetime_sum"
        log(NUM_ENV_STEPS_SAMPLED, steps, reduce="sum")
        log((NUM_AGENT_STEPS_SAMPLED, DEFAULT_AGENT_ID), steps, reduce="sum")
        log(NUM_EPISODES, episodes, reduce="sum")
        log(NUM_ENV_STEPS_SAMPLED_LIFETIME, steps, reduce=lifetime, with_throughput=True)
        log((NUM_AGENT_STEPS_SAMPLED_LIFETIME, DEFAULT_AGENT_ID), steps, reduce=lifetime)
        log(NUM_EPISODES_LIFETIME, episodes, reduce=lifetime)

    def log_evaluation(self, prefix: str, results: EpisodeResults, *, as_training: bool) -> None:
        """Logs evaluation episodes.

        Args:
            prefix: "deterministic" or "stochastic".
            results: The episodes.
            as_training: Log them also under the keys of training episodes.
        """
        log = self._logger.log_value
        if as_training:
            for length, ret in zip(results.lengths.tolist(), results.returns.tolist(), strict=True):
                self._log_episode(length, ret)
        # Sums: RLlib's mean over runners would not count their episodes.
        log((prefix, RETURN_SUM), float(results.returns.sum()), reduce="sum")
        log((prefix, LENGTH_SUM), int(results.lengths.sum()), reduce="sum")
        log((prefix, NUM_EPISODES), len(results.returns), reduce="sum")
        log((prefix, NUM_INVALID_EPISODES), results.invalid, reduce="sum")
        if results.successes is not None:
            log((prefix, NUM_SUCCESSES), int(results.successes.sum()), reduce="sum")

    def _log_episode(self, length: int, ret: float) -> None:
        log, window = self._logger.log_value, self._window
        log(EPISODE_LEN_MEAN, length, window=window)
        log(EPISODE_RETURN_MEAN, ret, window=window)
        log(("agent_episode_return_mean", DEFAULT_AGENT_ID), ret, window=window)
        log(("module_episode_return_mean", DEFAULT_MODULE_ID), ret, window=window)
        for reduce, length_key, return_key in (
            ("min", EPISODE_LEN_MIN, EPISODE_RETURN_MIN),
            ("max", EPISODE_LEN_MAX, EPISODE_RETURN_MAX),
        ):
            log(length_key, length, reduce=reduce, window=window)
            log(return_key, ret, reduce=reduce, window=window)
