"""Experiment trackers, without a network: W&B offline, MLflow in a database."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from ray.tune.experiment import Trial

from dppo_rllib.cli.loggers import check_loggers
from dppo_rllib.cli.mlflow_callback import MLflowCallback


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


def runs_in(database: str) -> list[Any]:
    client = MlflowClient(tracking_uri=database)
    return client.search_runs([e.experiment_id for e in client.search_experiments()])


@pytest.mark.slow
def test_a_run_is_logged_to_both(
    dppo: Any, reach_policy: Path, database: str, tmp_path: Path
) -> None:
    options = ["--runners", 0, "--learners", 0, "--episodes", 2, "--no-video"]
    loggers = ["--logger", "wandb", "--logger", "mlflow", "--set", "clip_param=0.03"]
    output = tmp_path / "run"
    result = dppo(
        "finetune", "reach", "--from", reach_policy, *options, *loggers, "--output", output
    )
    assert result.exit_code == 0, result.output
    [run] = runs_in(database)
    assert (run.info.status, run.data.params["clip_param"]) == ("FINISHED", "0.03")
    history = MlflowClient(tracking_uri=database).get_metric_history(
        run.info.run_id, "env_runners/episode_return_mean"
    )
    assert [metric.step for metric in history] == [1, 2]
    [offline] = output.glob("wandb/offline-run-*")
    assert offline.name.endswith(run.data.tags["trial_id"])
    [log] = offline.glob("*.wandb")
    assert b"episode_return_mean" in log.read_bytes()


def test_mlflow_goes_on_in_the_run_of_a_trial_that_is_resumed(database: str) -> None:
    before = len(runs_in(database))
    trial = Trial("DPPO", stub=True, trial_id="abc", config={"gamma": 0.9})
    for iteration in (1, 2):
        callback = MLflowCallback()  # that of another process
        callback.setup()
        callback.log_trial_start(trial)
        callback.log_trial_result(
            iteration, trial, {"training_iteration": iteration, "x": {"y": 1}}
        )
        callback.log_trial_end(trial)
    [run] = [run for run in runs_in(database) if run.data.tags.get("trial_id") == "abc"]
    assert len(runs_in(database)) == before + 1
    history = MlflowClient(tracking_uri=database).get_metric_history(run.info.run_id, "x/y")
    assert [metric.step for metric in history] == [1, 2]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_refused_with_what_installs_it(
    name: str, dppo: Any, reach_policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda module, *a: None if module == name else find(module, *a)
    )
    result = dppo("finetune", "reach", "--from", reach_policy, "--logger", name)
    assert result.exit_code == 2
    assert f'pip install "dppo_rllib[{name}]"' in result.stderr


def test_unknown_trackers_and_missing_keys_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="expected wandb or mlflow"):
        check_loggers(["tensorboard"])
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="WANDB_MODE=offline"):
        check_loggers(["wandb"])
