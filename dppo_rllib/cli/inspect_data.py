"""`dppo data inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from dppo_rllib.cli.errors import user_errors

if TYPE_CHECKING:
    from dppo_rllib.datasets.summary import ColumnSummary, Summary


def inspect_data(
    directory: Annotated[
        str,
        typer.Argument(help="A data set (LeRobot v3, v2.1 or v2.0), or hf://user/name of the Hub."),
    ],
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw lengths, returns and ranges: PNG, PDF or SVG."),
    ] = None,
) -> None:
    """Show what a data set holds: episodes, dimensions, ranges, gaps, returns.

    Ends with exit code 1 where values are NaN, infinite or missing, which
    pre-training refuses.
    """
    from dppo_rllib.datasets import local_dataset
    from dppo_rllib.datasets.summary import summarize

    with user_errors():
        summary = summarize(local_dataset(directory))
        if plot is not None:
            from dppo_rllib.cli.dataset_plot import plot_summary

            plot_summary(summary, plot)
    console = Console()
    console.print(_overview(summary, directory))
    console.print(_dimensions(summary))
    if plot is not None:
        console.print(f"plots in {plot}", highlight=False, soft_wrap=True)
    gaps = sum(int(column.missing.sum()) for column in summary.columns.values())
    if gaps:
        console.print(f"[red]{gaps} values are NaN, infinite or missing[/]", highlight=False)
        raise typer.Exit(1)


def _overview(summary: Summary, directory: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_header=False, title=directory, title_justify="left")
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    lengths = summary.lengths
    seconds = lengths.sum() / summary.fps
    table.add_row("format", f"LeRobot {summary.version}, {summary.bytes / 1e6:,.1f} MB")
    table.add_row("task", summary.task or "-")
    table.add_row("episodes", f"{len(lengths):,}")
    table.add_row(
        "steps", f"{lengths.sum():,} at {summary.fps:g} a second, {seconds / 60:,.1f} min"
    )
    table.add_row("steps an episode", _spread(lengths, "{:,.0f}"))
    for camera, pictures in summary.cameras.items():
        table.add_row(camera.removeprefix("observation.images."), pictures)
    returns = "no rewards" if summary.returns is None else _spread(summary.returns, "{:,.3g}")
    table.add_row("return", returns)
    ends = ", ".join(f"{count:,} {how}" for how, count in summary.ends.items() if count)
    table.add_row("ends", ends)
    success = "not told" if summary.success is None else f"{summary.success.mean():.1%}"
    table.add_row("success", success)
    return table


def _spread(values: np.ndarray, form: str) -> str:
    low, mean, high = (form.format(v) for v in (values.min(), values.mean(), values.max()))
    return f"{mean} on average, {low} to {high}"


def _dimensions(summary: Summary) -> Table:
    table = Table(box=SIMPLE_HEAD)
    for name in ("column", "dimension"):
        table.add_column(name, no_wrap=True)
    for name in ("min", "max", "mean", "std"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for column, found in summary.columns.items():
        for i, name in enumerate(found.names):
            numbers = (found.min[i], found.max[i], found.mean[i], found.std[i])
            shown = [f"{number:.4g}" if found.count[i] else "-" for number in numbers]
            table.add_row(column if i == 0 else "", name, *shown, _remarks(found, i))
        table.add_section()
    return table


def _remarks(found: ColumnSummary, i: int) -> str:
    remarks = ["constant"] if found.constant[i] else []
    if found.missing[i]:
        remarks.append(f"[red]{found.missing[i]:,} NaN[/]")
    return ", ".join(remarks)
