"""Mistakes of users: one panel, no traceback, exit code 2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from dppo_rllib.errors import UserError

EXIT_CODE = 2
_OF_CHECKS = (ValueError, FileNotFoundError, FileExistsError, NotADirectoryError, UserError)


@contextmanager
def user_errors(
    kinds: type[Exception] | tuple[type[Exception], ...] = _OF_CHECKS,
) -> Iterator[None]:
    """Shows what checks raise inside the block, and ends the command.

    To be put around checks only: the same exceptions out of training itself are faults, and keep
    their traceback.

    Args:
        kinds: What is shown. `UserError` is never a fault, and may be shown of work itself.
    """
    try:
        yield
    except kinds as error:
        # A console of now: the stream may have been replaced since this module was imported.
        Console(stderr=True).print(Panel(Text(str(error)), title="Error", border_style="red"))
        raise typer.Exit(EXIT_CODE) from error
