"""`dppo data collect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from dppo_rllib.cli.errors import user_errors

if TYPE_CHECKING:
    from dppo_rllib.tasks.behaviour import CollectProgress


def collect(
    task: Annotated[str, typer.Argument(help="Name of a task.")],
    output: Annotated[Path, typer.Option(help="New directory for the data set (LeRobot v3).")],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes to record; by default the task's own.")
    ] = None,
    seed: Annotated[
        int, typer.Option(help="Of training and recording; the shipped data were made with 1.")
    ] = 1,
) -> None:
    """Make demonstrations: train a behaviour policy with PPO, record its episodes."""
    from dppo_rllib.tasks import get_task, missing_requirements
    from dppo_rllib.tasks.behaviour import BEHAVIOURS, behaviour_spec, collect_demonstrations

    with user_errors():
        if task not in BEHAVIOURS:
            get_task(task)  # a task without a recipe, or none at all: two different mistakes
        behaviour_spec(task)
        if missing := missing_requirements(get_task(task)):
            raise ValueError(f"task {task}: install first: {'; '.join(missing)}")
        if output.exists():
            raise FileExistsError(f"--output {output}: exists already; expected a new directory")
    console = Console()
    with Progress(console=console) as progress:
        bars: dict[str, TaskID] = {}

        def show(state: CollectProgress) -> None:
            if state.stage == "write":
                return
            if state.stage not in bars:
                bars[state.stage] = progress.add_task(state.stage, total=state.total)
            text: str = state.stage
            if state.return_mean is not None:
                text += f", return {state.return_mean:,.0f}, {state.policies} policies kept"
            progress.update(bars[state.stage], completed=state.done, description=text)

        made = collect_demonstrations(task, output, episodes=episodes, seed=seed, progress=show)
    console.print(
        f"{made.num_episodes} episodes, {len(made.rewards):,} transitions, mean return "
        f"{made.episode_returns.mean():,.1f}, in {output}"
    )
