"""The live display of a run: where it is, how it does, how long it will take."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

Row = Mapping[str, float]
Format = Callable[[float], str]

# Column of the history -> label and format.
FINETUNE_SHOWN: Mapping[str, tuple[str, Format]] = {
    "return_mean": ("return (stochastic)", "{:,.1f}".format),
    "success_rate": ("success", "{:.1%}".format),
    "clip_fraction": ("clip fraction", "{:.3f}".format),
    "kl": ("KL", "{:.2e}".format),
    "env_steps_per_second": ("env steps/s", "{:,.0f}".format),
    "seconds_sampling": ("sampling", "{:.1f} s".format),
    "seconds_update": ("update", "{:.1f} s".format),
}
PRETRAIN_SHOWN: Mapping[str, tuple[str, Format]] = {
    "train_loss": ("training loss", "{:.4f}".format),
    "validation_loss": ("validation loss", "{:.4f}".format),
    "lr": ("learning rate", "{:.2e}".format),
    "samples_per_second": ("samples/s", "{:,.0f}".format),
}


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, as `1:02:03` or `2:03`."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class RunDisplay:
    """A bar and the latest values; one line an iteration where the output is no terminal.

    Args:
        console: Where to.
        unit: What an iteration is called.
        total: How many there are.
        shown: Columns of the history with label and format; those without values are left out.
    """

    def __init__(
        self, console: Console, unit: str, total: int, shown: Mapping[str, tuple[str, Format]]
    ):
        self._console, self._unit, self._total, self._shown = console, unit, total, shown
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task: TaskID = self._bar.add_task(unit, total=total, left="starting …")
        self._live: Live | None = None
        self._started = time.monotonic()
        self._first: float | None = None

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal:
            self._live = Live(self._bar, console=self._console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, row: Row) -> None:
        """An iteration is done."""
        iteration = row["iteration"]
        if self._first is None:
            self._first = iteration - 1
            self._started = time.monotonic() - row.get("seconds_iteration", 0.0)
        elapsed = time.monotonic() - self._started
        left = elapsed / (iteration - self._first) * max(0.0, self._total - iteration)
        values = [
            (label, form(row[name]))
            for name, (label, form) in self._shown.items()
            if name in row and math.isfinite(row[name])
        ]
        self._bar.update(self._task, completed=iteration, left=f"{duration(left)} left")
        if self._live is None:
            parts = "  ".join(f"{label} {value}" for label, value in values)
            self._console.print(
                f"{self._unit} {iteration:.0f}/{self._total}  {parts}  {duration(left)} left",
                highlight=False,
                soft_wrap=True,
            )
            return
        table = Table.grid(padding=(0, 3))
        for _ in values:
            table.add_column(justify="right")
        table.add_row(*[f"[dim]{label}[/dim]" for label, _ in values])
        table.add_row(*[value for _, value in values])
        self._live.update(Group(self._bar, table))

    def say(self, text: str) -> None:
        """Something to know, once."""
        self._console.print(text)
