"""Tables and plots of results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from dppo_rllib.checkpoints import PolicyCheckpoint
    from dppo_rllib.cli.history import History
    from dppo_rllib.environments import ChunkedVectorEnv
    from dppo_rllib.rollouts import Episode

# Summaries by kind ("deterministic", "stochastic"), see `EpisodeResults.summary`.
Summaries = Mapping[str, Mapping[str, float]]

_MAX_ENVS = 40


def num_eval_envs(episodes: int) -> int:
    """Environments that evaluation steps together: as few as finish in the fewest rounds."""
    rounds = math.ceil(episodes / _MAX_ENVS)
    return math.ceil(episodes / rounds)


def evaluate_with_progress(
    console: Console,
    checkpoint: PolicyCheckpoint,
    env: ChunkedVectorEnv,
    episodes: int,
    seed: int,
    title: str,
) -> tuple[dict[str, dict[str, float]], Episode]:
    """Evaluates a policy under a progress bar.

    Returns:
        Summaries by kind, and the first greedy episode of environment 0, for a video.
    """
    from dppo_rllib.checkpoints.evaluation import MODES, evaluate_policy

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {mode: progress.add_task(f"{title}, {mode}", total=episodes) for mode in MODES}
        results = evaluate_policy(
            checkpoint,
            env,
            episodes,
            seed=seed,
            on_step=lambda mode, finished: progress.update(bars[mode], completed=finished),
        )
    summaries = {
        mode: {**result.summary(), "invalid": float(result.invalid)}
        for mode, result in results.items()
    }
    return summaries, results["deterministic"].first


def standard_error(summary: Mapping[str, float]) -> float:
    """Of the mean return."""
    return summary["return_std"] / math.sqrt(summary["episodes"])


def results_table(title: str, columns: Mapping[str, Summaries]) -> Table:
    """Returns (mean ± standard error), success rates (Wilson interval) and episode lengths.

    Args:
        title: Of the table.
        columns: Summaries by heading, as "before" and "after".
    """
    table = Table(title=title)
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    for mode in ("deterministic", "stochastic"):
        summaries = [column[mode] for column in columns.values()]
        table.add_row(
            f"return, {mode}",
            *[f"{s['return_mean']:,.1f} ± {standard_error(s):,.1f}" for s in summaries],
        )
        if any("success_rate" in s for s in summaries):
            table.add_row(f"success, {mode}", *[_success(s) for s in summaries])
        table.add_row(f"episode length, {mode}", *[f"{s['length_mean']:,.1f}" for s in summaries])
        if any(s.get("invalid") for s in summaries):
            table.add_row(
                f"simulator failures, {mode}", *[f"{s.get('invalid', 0):.0f}" for s in summaries]
            )
    episodes = next(iter(columns.values()))["deterministic"]["episodes"]
    table.caption = f"{episodes:.0f} episodes each; ± one standard error of the mean" + (
        "; 95 % Wilson intervals"
        if any("success_rate" in s for column in columns.values() for s in column.values())
        else ""
    )
    return table


def _success(summary: Mapping[str, float]) -> str:
    if "success_rate" not in summary:
        return "–"
    low, high = summary["success_rate_low"], summary["success_rate_high"]
    return f"{summary['success_rate']:.1%} ({low:.1%} to {high:.1%})"


def settings_table(title: str, rows: Mapping[str, Any]) -> Table:
    """What will run."""
    table = Table(title=title, show_header=False)
    table.add_column("", style="dim")
    table.add_column("", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, str(value).replace("[", r"\["))
    return table


def plot_returns(
    history: History, before: Mapping[str, float] | None, after: Mapping[str, float], path: Path
) -> None:
    """Return while training against environment steps; the level before is dashed."""
    axes, figure = new_axes()
    steps = history.column("env_steps")
    axes.plot(steps, history.column("return_mean"), marker=".", label="while training")
    if before is not None:
        axes.axhline(before["return_mean"], ls="--", color="grey", label="before")
    last = history.last("env_steps") or 0.0
    error = standard_error(after)
    axes.errorbar([last], [after["return_mean"]], [error], fmt="o", capsize=4, label="after")
    axes.set_xlim(left=0)
    axes.set_xlabel("environment steps")
    axes.set_ylabel("return (stochastic)")
    axes.legend()
    figure.savefig(path, dpi=150)


def plot_losses(history: History, path: Path) -> None:
    """Loss against epochs."""
    axes, figure = new_axes()
    for name, label in (("train_loss", "training"), ("validation_loss", "validation")):
        if history.last(name) is not None:
            axes.plot(history.column("iteration"), history.column(name), label=label)
    axes.set_xlabel("epoch")
    axes.set_ylabel("denoising loss")
    axes.set_yscale("log")
    axes.legend()
    figure.savefig(path, dpi=150)


def new_axes() -> tuple[Any, Any]:
    """Empty axes and the figure around them."""
    # Without pyplot: no display, no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    return axes, figure
