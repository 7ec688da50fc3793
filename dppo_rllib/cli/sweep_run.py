"""From a sweep to its table and plot."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import typer
from ray import tune
from rich.console import Console
from rich.table import Table

from dppo_rllib.algorithms.placement import Cluster, Request
from dppo_rllib.checkpoints import StoragePath
from dppo_rllib.checkpoints.storage import files_below
from dppo_rllib.cli.curve_plot import plot_means
from dppo_rllib.cli.errors import user_errors
from dppo_rllib.cli.loggers import check_loggers, tracker_callbacks
from dppo_rllib.cli.placement import start_ray
from dppo_rllib.cli.plot import named, short
from dppo_rllib.cli.run import interrupts, quiet_ray, shut_down
from dppo_rllib.sweeps import Sweep, trial_config
from dppo_rllib.sweeps.check import drawn_configurations
from dppo_rllib.sweeps.curves import average, read_curves
from dppo_rllib.sweeps.results import SUMMARY, summarized, trial_rows
from dppo_rllib.sweeps.run import new_sweep, restored_sweep

_BEST = 20  # lines of the table
_INTERRUPTED, _FAILED = 130, 1


@dataclass(frozen=True)
class SweepPlan:
    """What `dppo tune` will do.

    Attributes:
        sweep: What is tried.
        storage: Directory or URI.
        name: The sweep's directory therein.
        resume: Go on with it where it has begun.
        concurrent: Trials at once; None for as many as fit.
        max_failures: Times that a trial may lose its machine.
        loggers: Experiment trackers.
    """

    sweep: Sweep
    storage: str
    name: str
    resume: bool = False
    concurrent: int | None = None
    max_failures: int = 3
    loggers: Sequence[str] = ()

    @property
    def directory(self) -> StoragePath:
        """Where the sweep's files are."""
        return StoragePath.of(self.storage) / self.name

    @property
    def begun(self) -> bool:
        """There is something to go on with."""
        return (self.directory / "tuner.pkl").is_file()

    def check(self) -> None:
        """Refuses what cannot run.

        Raises:
            FileExistsError: The sweep has begun and is not to go on.
            ValueError: There is no such storage, or no such tracker.
        """
        check_loggers(self.loggers)
        if bucket := self.directory.missing_bucket():
            raise ValueError(f"--storage {self.storage}: there is no bucket {bucket}")
        if self.begun and not self.resume:
            raise FileExistsError(
                f"{self.directory}: this sweep has begun; go on with it by --resume, or choose "
                "another --name"
            )


def run_sweep(plan: SweepPlan) -> None:
    """Runs a sweep to its end."""
    console = Console()
    start_ray()
    try:
        with user_errors():
            _check_fits(plan.sweep)
        stop = _Stop()
        with quiet_ray(), interrupts(stop):
            results = _tuner(console, plan).fit()
        _report(console, plan, results)
    finally:
        shut_down()
    if stop.came:
        console.print("Stopped. Go on with the same command and [bold]--resume[/bold].")
        raise typer.Exit(_INTERRUPTED)
    if results.num_errors:
        console.print(
            f"[red]{results.num_errors} trials failed.[/red] Once the cause is gone, they go on "
            "with the same command and [bold]--resume[/bold]."
        )
        raise typer.Exit(_FAILED)


def _check_fits(sweep: Sweep) -> None:
    """Refuses trials that could never start."""
    config = trial_config(next(drawn_configurations(sweep)))
    asked = f"a trial with --runners {config.num_env_runners} --learners {config.num_learners}"
    Request.of(config).check(Cluster.connected(), asked)


def _tuner(console: Console, plan: SweepPlan) -> tune.Tuner:
    sweep = plan.sweep
    if plan.begun:
        console.print(f"Going on with {plan.directory}")
        return restored_sweep(sweep, plan.directory)
    console.print(f"[bold]{sweep.title}[/bold]: {plan.directory}")
    return new_sweep(
        sweep,
        directory=plan.directory,
        concurrent=plan.concurrent,
        max_failures=plan.max_failures,
        callbacks=tracker_callbacks(plan.loggers),
    )


class _Stop:
    """Makes Ctrl-C and SIGTERM, as of `ray job stop`, end a sweep so that it can go on."""

    def __init__(self) -> None:
        self.came = False

    def __call__(self, *args: Any) -> None:
        del args
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        signal.raise_signal(signal.SIGUSR1)


def _report(console: Console, plan: SweepPlan, results: tune.ResultGrid) -> None:
    rows = trial_rows(results, plan.sweep, plan.directory)
    finished = rows.dropna(subset="value")
    if finished.empty:
        console.print(
            f"No trial has reported {plan.sweep.metric}, so there is nothing to compare; returns "
            "appear when episodes have ended. Go on with more [bold]--iterations[/bold]."
        )
        return
    console.print(_best_table(summarized(finished, plan.sweep), plan.sweep))
    with tempfile.TemporaryDirectory() as scratch:
        rows.to_csv(Path(scratch) / "trials.csv", index=False)
        means = named(average(read_curves(plan.directory, y=plan.sweep.metric)))
        plot_means(
            means,
            x_label="environment steps",
            y_label=plan.sweep.metric.rpartition("/")[-1],
            path=Path(scratch) / "curves.png",
        )
        for name, file in files_below(Path(scratch)):
            (plan.directory / name).copy_from(file)
    console.print(f"Table and plot: {plan.directory}/trials.csv, {plan.directory}/curves.png")
    best = finished.sort_values("value", ascending=plan.sweep.mode == "min").iloc[0]
    console.print(f"Best trial: dppo eval {best['path']}", highlight=False, soft_wrap=True)


def _best_table(rows: pd.DataFrame, sweep: Sweep) -> Table:
    metric = sweep.metric.rpartition("/")[-1]
    table = Table(title=f"{sweep.title}: the best of {len(rows)}")
    settings = [name for name in rows if name not in SUMMARY]
    for name in settings:
        table.add_column(name)
    for name in ("trials", "iterations", "env steps", metric):
        table.add_column(name, justify="right")
    for _, row in rows.head(_BEST).iterrows():
        spread = f" ± {row['half_width']:,.2g}" if row["trials"] > 1 else ""
        table.add_row(
            *[short(row[name]) for name in settings],
            f"{row['trials']:.0f}",
            f"{row['iterations']:.0f}",
            f"{row['env_steps']:,.0f}",
            f"{row['value']:,.4g}{spread}",
        )
    if (rows["trials"] > 1).any():
        table.caption = "means over seeds, with 95 % confidence intervals"
    return table
