"""`dppo tasks`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table


def list_tasks() -> None:
    """List the tasks, and what each still needs."""
    from dppo_rllib.tasks import get_task, missing_requirements, task_names

    table = Table(title="Tasks")
    for column in ("task", "environment", "dims (obs, act)", "data", "base policy"):
        table.add_column(column, no_wrap=True)
    table.add_column("installed", overflow="fold")
    for name in task_names():
        task = get_task(name)
        missing = missing_requirements(task)
        table.add_row(
            task.name,
            task.env_name,
            f"{task.obs_dim}, {task.action_dim}",
            _presence(task.dataset, otherwise="none"),
            _presence(task.base_policy, otherwise="dppo pretrain"),
            "yes" if not missing else "\n".join(missing).replace("[", r"\["),
        )
    console = Console()
    console.print(table)
    for name in task_names():
        console.print(f"[bold]{name}[/bold]: {get_task(name).description}")


def _presence(path: Path | None, *, otherwise: str) -> str:
    if path is None:
        return otherwise
    return "yes" if path.exists() else f"missing: {path}"
