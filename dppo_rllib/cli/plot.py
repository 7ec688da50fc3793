"""`dppo plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dppo_rllib.cli.errors import user_errors

if TYPE_CHECKING:
    from dppo_rllib.sweeps.curves import Mean

_X = {
    "steps": ("env_runners/num_env_steps_sampled_lifetime", "environment steps"),
    "iterations": ("training_iteration", "iterations"),
    "seconds": ("time_total_s", "seconds"),
}
_Y = {
    "return": ("env_runners/episode_return_mean", "return (stochastic)"),
    "success": ("env_runners/success_rate", "success rate (stochastic)"),
}


def plot(
    runs: Annotated[
        list[str], typer.Argument(help="Directories or URIs of runs, sweeps, or both.")
    ],
    output: Annotated[Path, typer.Option(help="Picture to write: .png, .pdf or .svg.")] = Path(
        "curves.png"
    ),
    x: Annotated[str, typer.Option(help="Draw along steps, iterations or seconds.")] = "steps",
    y: Annotated[
        str, typer.Option(help="Draw return, success, or a column of progress.csv or metrics.csv.")
    ] = "return",
) -> None:
    """Draw learning curves of several runs; those that differ by their seed become a mean."""
    from rich.console import Console

    from dppo_rllib.cli.curve_plot import plot_means
    from dppo_rllib.sweeps.curves import average, read_curves

    with user_errors():
        if x not in _X:
            raise ValueError(f"--x {x}: expected one of {sorted(_X)}")
        along, x_label = _X[x]
        what, y_label = _Y.get(y, (y, y))
        if output.suffix not in (".png", ".pdf", ".svg"):
            raise ValueError(f"--output {output}: expected a name that ends in .png, .pdf or .svg")
        curves = [curve for run in runs for curve in read_curves(run, x=along, y=what)]
    means = named(average(curves))
    plot_means(means, x_label=x_label, y_label=y_label, path=output)
    Console().print(f"{len(curves)} runs as {len(means)} curves: {output}")


def named(means: list[Mean]) -> dict[str, Mean]:
    """Curves by what tells them apart, best first."""
    from dppo_rllib.sweeps.curves import varied

    keys = varied([mean.settings for mean in means])
    ordered = sorted(means, key=lambda mean: -mean.mean[-1] if len(mean.mean) else 0.0)
    return {described(mean.settings, keys) or "all": mean for mean in ordered}


def described(settings: Any, keys: list[str]) -> str:
    """The settings of these names in a few characters."""
    return ", ".join(f"{key}={short(settings.get(key))}" for key in keys)


def short(value: Any) -> str:
    """A value of a setting for a table."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
