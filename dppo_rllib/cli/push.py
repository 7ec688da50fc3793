"""`dppo data push`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dppo_rllib.cli.errors import user_errors


def push(
    directory: Annotated[Path, typer.Argument(help="A data set (LeRobot v3).")],
    name: Annotated[str, typer.Argument(help="What it is called on the Hub: user/name.")],
    private: Annotated[bool, typer.Option("--private", help="Of a new one: only for you.")] = False,
) -> None:
    """Put a data set onto the Hugging Face Hub.

    Log in first with "hf auth login", or set HF_TOKEN.
    """
    from dppo_rllib.datasets.hub import push_dataset

    with user_errors():
        try:
            address = push_dataset(directory, name, private=private)
        except (ImportError, PermissionError) as error:
            raise ValueError(str(error)) from error
    Console().print(
        f"{directory} is at {address}: dppo pretrain TASK --set dataset={address}",
        highlight=False,
        soft_wrap=True,
    )
