"""Running a sweep with Tune, and going on with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from dppo_rllib.checkpoints import StoragePath
from dppo_rllib.sweeps.check import drawn_configurations
from dppo_rllib.sweeps.sweep import Sweep
from dppo_rllib.sweeps.trial import TaskTrial
from dppo_rllib.tasks import get_task

_SHOWN = {
    "training_iteration": "iteration",
    "env_runners/num_env_steps_sampled_lifetime": "env steps",
}


def new_sweep(
    sweep: Sweep,
    *,
    directory: StoragePath,
    concurrent: int | None = None,
    max_failures: int = 3,
    callbacks: Sequence[tune.Callback] = (),
) -> tune.Tuner:
    """A sweep that has not begun.

    Args:
        sweep: What is tried.
        directory: Its own, reachable from all machines.
        concurrent: Trials at once; None for as many as there are resources.
        max_failures: How often a trial goes on from its last checkpoint after its processes or
            their machine have died.
        callbacks: Are told of every result.
    """
    return tune.Tuner(
        _trainable(sweep),
        param_space=dict(sweep.param_space),
        tune_config=tune.TuneConfig(
            metric=sweep.metric,
            mode=sweep.mode,
            num_samples=sweep.num_samples,
            scheduler=sweep.scheduler,
            search_alg=sweep.search_alg,
            max_concurrent_trials=concurrent,
            trial_dirname_creator=_directory,
        ),
        run_config=tune.RunConfig(
            name=directory.name,
            storage_path=directory.parent.path,
            storage_filesystem=directory.filesystem,
            callbacks=list(callbacks),
            stop={"training_iteration": sweep.iterations, **sweep.stop},
            failure_config=tune.FailureConfig(max_failures=max_failures),
            checkpoint_config=tune.CheckpointConfig(
                # A population copies from checkpoints that may be a few iterations old.
                num_to_keep=4,
                checkpoint_frequency=1,
                checkpoint_at_end=True,
            ),
            sync_config=tune.SyncConfig(sync_period=30),
            progress_reporter=tune.CLIReporter(
                metric_columns={**_SHOWN, sweep.metric: sweep.metric.rpartition("/")[-1]},
                max_report_frequency=30,
                sort_by_metric=True,
            ),
            verbose=1,
        ),
    )


def restored_sweep(sweep: Sweep, directory: StoragePath) -> tune.Tuner:
    """A sweep that was interrupted, or of which trials have failed.

    Args:
        sweep: As it began.
        directory: Its own.
    """
    return tune.Tuner.restore(
        directory.path,
        storage_filesystem=directory.filesystem,
        trainable=_trainable(sweep),
        param_space=dict(sweep.param_space),
        resume_errored=True,
    )


def _trainable(sweep: Sweep) -> Any:
    # Tasks that the sweep's file or --tasks-from has registered are unknown to Ray's processes.
    tasks = {drawn["task"] for drawn in drawn_configurations(sweep)}
    return tune.with_parameters(TaskTrial, tasks=[get_task(name) for name in sorted(tasks)])


def _directory(trial: Trial) -> str:
    # The settings are in params.json; as part of a name they would break some file systems.
    return f"trial_{trial.trial_id}"
