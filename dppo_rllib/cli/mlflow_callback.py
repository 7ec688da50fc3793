"""Ray's callback for MLflow, so that it can be resumed, and does not call the server per value."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.experiment import Trial
from ray.tune.utils import flatten_dict

from dppo_rllib.cli.loggers import PROJECT

_TRIAL = "trial_id"
_LONGEST_VALUE = 500  # characters that every version of MLflow takes
_MOST_PARAMS, _MOST_METRICS = 100, 1000  # of one request


class MLflowCallback(MLflowLoggerCallback):
    """Goes on in the run of a trial that is resumed."""

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Finds or makes the experiment that MLFLOW_EXPERIMENT_NAME names."""
        self.experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        super().setup(*args, **kwargs)

    def log_trial_start(self, trial: Trial) -> None:
        """Finds the trial's run, or makes one with its settings."""
        experiment, client = self.mlflow_util.experiment_id, self._client
        found = client.search_runs([experiment], f"tags.{_TRIAL} = '{trial.trial_id}'")
        if found:
            self._trial_runs[trial] = found[0].info.run_id
            client.update_run(found[0].info.run_id, status="RUNNING")
            return
        tags = {**self.tags, _TRIAL: trial.trial_id, "trial_name": str(trial)}
        run_id = client.create_run(experiment, tags=tags, run_name=str(trial)).info.run_id
        self._trial_runs[trial] = run_id
        params = [
            Param(name, str(value)[:_LONGEST_VALUE])
            for name, value in flatten_dict(trial.config).items()
        ]
        for start in range(0, len(params), _MOST_PARAMS):
            client.log_batch(run_id, params=params[start : start + _MOST_PARAMS])

    def log_trial_result(self, iteration: int, trial: Trial, result: Mapping[str, Any]) -> None:
        """Logs all numbers of an iteration at its number."""
        now, step = int(time.time() * 1000), result["training_iteration"]
        metrics = [
            Metric(name, float(value), now, step)
            for name, value in flatten_dict(
                {k: v for k, v in result.items() if k != "config"}
            ).items()
            if isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0
        ]
        for start in range(0, len(metrics), _MOST_METRICS):
            self._client.log_batch(
                self._trial_runs[trial], metrics=metrics[start : start + _MOST_METRICS]
            )

    @property
    def _client(self) -> MlflowClient:
        client: MlflowClient = self.mlflow_util._get_client()
        return client
