"""`dppo data collect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from dppo_rllib.cli.errors import user_errors
from dppo_rllib.errors import UserError

if TYPE_CHECKING:
    from dppo_rllib.tasks.behaviour import CollectProgress


def collect(
    task: Annotated[str, typer.Argument(help="Name of a task.")],
    output: Annotated[Path, typer.Option(help="New directory for the data set (LeRobot v3).")],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Episodes to record; by default the task's own.")
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="On a scripted expert's actions, of half their range.  [0.05; of Avoid 0.3]",
        ),
    ] = None,
    labels: Annotated[
        Literal["executed", "intended"] | None,
        typer.Option(
            help="Actions to record of a scripted expert: as executed, noise and all, or as "
            "intended, for clones that come back from where noise leads.  [executed]"
        ),
    ] = None,
    imperfection: Annotated[
        float | None,
        typer.Option(min=0, help="How far off a scripted expert is, on purpose.  [1.0]"),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Of everything; the shipped data were made with 1."),
    ] = 1,
) -> None:
    """Make demonstrations: of a scripted expert, or of policies that PPO trains first."""
    from dppo_rllib.tasks import get_task, missing_requirements
    from dppo_rllib.tasks.behaviour_specs import BEHAVIOURS
    from dppo_rllib.tasks.scripted import has_expert

    given = {"noise": noise, "labels": labels, "imperfection": imperfection}
    settings = {name: value for name, value in given.items() if value is not None}
    with user_errors():
        chosen = get_task(task)
        scripted = has_expert(chosen)
        if not scripted and task not in BEHAVIOURS:
            raise ValueError(f"task {task}: {_choices()}")
        if not scripted and settings:
            raise ValueError(
                f"--{next(iter(settings))}: task {task} has no scripted expert; {_choices()}"
            )
        if missing := missing_requirements(chosen):
            raise ValueError(f"task {task}: install first: {'; '.join(missing)}")
        if output.exists():
            raise FileExistsError(f"--output {output}: exists already; expected a new directory")
    with user_errors(UserError):
        if scripted:
            _with_expert(task, output, episodes, seed, settings)
        else:
            _with_behaviour(task, output, episodes, seed)


def _choices() -> str:
    """What demonstrations can be made of."""
    from dppo_rllib.tasks import get_task, task_names
    from dppo_rllib.tasks.behaviour_specs import BEHAVIOURS
    from dppo_rllib.tasks.scripted import has_expert

    experts = [name for name in task_names() if has_expert(get_task(name))]
    return f"scripted experts solve {experts}, policies are trained for {sorted(BEHAVIOURS)}"


def _with_expert(
    task: str, output: Path, episodes: int | None, seed: int, settings: dict[str, Any]
) -> None:
    from dppo_rllib.rollouts.evaluation import success_interval
    from dppo_rllib.tasks.scripted import DEFAULT_EPISODES, collect_with_expert

    console, wanted = Console(), episodes or DEFAULT_EPISODES
    with Progress(console=console) as progress:
        bar = progress.add_task("record", total=wanted)

        def show(attempts: int, successes: int) -> None:
            text = f"record, {successes} of {attempts} attempts"
            progress.update(bar, completed=min(successes, wanted), description=text)

        collected = collect_with_expert(
            task, output, episodes=wanted, seed=seed, progress=show, **settings
        )
    low, high = success_interval(wanted, collected.attempts)
    console.print(
        f"{wanted} episodes, {collected.frames:,} transitions, of {collected.attempts} attempts: "
        f"{wanted / collected.attempts:.1%} succeed (95 % Wilson interval {low:.1%} to "
        f"{high:.1%}), in {output}"
    )


def _with_behaviour(task: str, output: Path, episodes: int | None, seed: int) -> None:
    from dppo_rllib.tasks.behaviour import collect_demonstrations

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
