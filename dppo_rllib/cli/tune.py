"""`dppo tune`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dppo_rllib.cli.errors import user_errors
from dppo_rllib.cli.loggers import LoggerOption
from dppo_rllib.cli.settings import SetOption, parse_settings

if TYPE_CHECKING:
    from dppo_rllib.sweeps import Sweep


def tune(
    file: Annotated[Path, typer.Argument(help="Python file with a SWEEP, as in tune_configs/.")],
    storage: Annotated[
        str, typer.Option(help="Where its directory goes; a path or URI that all machines reach.")
    ] = "results",
    name: Annotated[
        str | None, typer.Option(help="Of its directory; default: that of the file.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with it where it has begun.")
    ] = False,
    settings: SetOption = None,
    iterations: Annotated[
        int | None, typer.Option(min=1, help="Of each trial, instead of the sweep's.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Draws of random values, instead of the sweep's.")
    ] = None,
    concurrent: Annotated[
        int | None, typer.Option(min=1, help="Trials at once; default: as many as fit.")
    ] = None,
    runners: Annotated[
        int | None,
        typer.Option(min=0, help="Environment runners of a trial; default 0, in its process."),
    ] = None,
    learners: Annotated[
        int | None, typer.Option(min=0, help="Learners of a trial; default 0, in its process.")
    ] = None,
    gpus_per_learner: Annotated[
        float | None, typer.Option(min=0, help="GPUs of each learner; fractions share one.")
    ] = None,
    max_failures: Annotated[
        int, typer.Option(min=0, help="Times that a trial may lose its machine and go on.")
    ] = 3,
    loggers: LoggerOption = None,
) -> None:
    """Run a sweep with Ray Tune: many trials that differ in their settings."""
    from dppo_rllib.cli.placement import quiet_logs
    from dppo_rllib.cli.sweep_run import SweepPlan, run_sweep
    from dppo_rllib.sweeps import check_sweep, load_sweep

    quiet_logs()
    placed = {
        "num_env_runners": runners,
        "num_learners": learners,
        "num_gpus_per_learner": gpus_per_learner,
    }
    with user_errors():
        sweep = _changed(
            load_sweep(file),
            param_space=parse_settings(settings or []),
            placed=placed,
            iterations=iterations,
            num_samples=samples,
        )
        plan = SweepPlan(
            sweep=sweep,
            storage=storage,
            name=name or file.stem,
            resume=resume,
            concurrent=concurrent,
            max_failures=max_failures,
            loggers=loggers or [],
        )
        plan.check()
        check_sweep(sweep)
    run_sweep(plan)


def _changed(
    sweep: Sweep, *, param_space: dict[str, Any], placed: dict[str, Any], **numbers: Any
) -> Sweep:
    """The sweep with what the command line says otherwise."""
    given = {key: value for key, value in placed.items() if value is not None}
    space = {**sweep.param_space, **param_space, **given}
    return replace(sweep, param_space=space, **{k: v for k, v in numbers.items() if v is not None})
