"""`dppo tasks`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from dppo_rllib.tasks import Task


def list_tasks() -> None:
    """List the tasks, and what each still needs."""
    from dppo_rllib.tasks import get_task, missing_requirements, task_names

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("task", no_wrap=True)
    table.add_column("what is done", overflow="fold")
    for column in ("obs, act", "data", "policy", "ready"):
        table.add_column(column, no_wrap=True)
    needed: dict[str, None] = {}  # in the order in which they were met
    for name in task_names():
        task = get_task(name)
        missing = missing_requirements(task)
        needed |= dict.fromkeys(missing)
        table.add_row(
            task.name,
            _description(task),
            f"{task.obs_dim}, {task.action_dim}",
            _presence(task.dataset),
            _presence(task.base_policy),
            "no" if missing else "yes",
        )
    console = Console()
    console.print(table)
    if needed:
        console.print("Those that are not ready need:")
        for command in needed:
            console.print(f"  {command}", markup=False, soft_wrap=True)


def _description(task: Task) -> str:
    others = [f"@{variant}" for variant in sorted(task.variants)]
    return f"{task.description}; also {', '.join(others)}" if others else task.description


def _presence(path: Path | None) -> str:
    if path is None:
        return "-"
    return "yes" if path.exists() else f"missing: {path}"
