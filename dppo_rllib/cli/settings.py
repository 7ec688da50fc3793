"""`--set key=value`: settings of an algorithm on the command line."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the algorithm, as JSON or a Python literal; may be repeated. "
        "Dots reach into settings that are dictionaries: network.mlp_dims=[256,256,256]; "
        "env_config.num_threads=4 is for the task's environment.",
    ),
]


def parse_settings(assignments: Sequence[str]) -> dict[str, Any]:
    """Settings by (dotted) key.

    Raises:
        ValueError: One is not `key=value`, or a key is given twice.
    """
    settings: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        key = key.strip()
        if not equals or not key:
            raise ValueError(f"--set {text}: expected key=value")
        if key in settings:
            raise ValueError(f"--set {key}: given twice")
        settings[key] = parse_value(value.strip())
    return settings


def parse_value(text: str) -> Any:
    """JSON, else a Python literal, else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
