"""`--set key=value`: settings of an algorithm from the command line, checked before any work."""

from __future__ import annotations

import ast
import difflib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from dppo_rllib.algorithms.chunk_config import ChunkConfig

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="A setting of the algorithm, as JSON or a Python literal; may be repeated. "
        "Dots reach into settings that are dictionaries: network.mlp_dims=[256,256,256]",
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


def apply_settings(config: ChunkConfig, settings: Mapping[str, Any]) -> None:
    """Puts settings into a configuration.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type.
    """
    hints = _type_hints(config)
    update: dict[str, Any] = {}
    for key, value in settings.items():
        name, *path = key.split(".")
        if name.startswith("_"):
            raise ValueError(f"--set {key}: settings with an underscore are internal")
        if path:
            current = update.get(name, getattr(config, name, None))
            update[name] = _replaced(current, path, value, key, open_ended=name == "env_config")
        else:
            if name == "lambda":  # RLlib's own spelling of lambda_
                raise ValueError("--set lambda: did you mean lambda_?")
            if hasattr(config, name):
                _check_type(key, value, getattr(config, name), hints.get(name))
            update[name] = value
    config.update_from_dict(update)


def validate(config: ChunkConfig) -> None:
    """The configuration's own checks.

    Raises:
        ValueError: A setting is wrong; types that only a comparison finds out are included.
    """
    try:
        config.validate()
    except TypeError as error:
        raise ValueError(f"a setting has the wrong type: {error}") from error


def _replaced(
    current: Any, path: list[str], value: Any, key: str, *, open_ended: bool
) -> dict[str, Any]:
    """A copy of dictionary `current` with the entry at `path` replaced."""
    if not isinstance(current, Mapping):
        raise ValueError(f"--set {key}: {key.partition('.')[0]} is not a dictionary")
    name, *rest = path
    if name not in current and not open_ended:
        close = difflib.get_close_matches(name, [str(k) for k in current], n=3)
        raise ValueError(
            f"--set {key}: unknown"
            + (f"; did you mean {' or '.join(close)}?" if close else "")
            + f" Expected one of {sorted(current)}"
        )
    if rest:
        below = current.get(name, {} if open_ended else None)
        return {**current, name: _replaced(below, rest, value, key, open_ended=open_ended)}
    if name in current:
        _check_type(key, value, current[name], None)
    return {**current, name: value}


def _type_hints(config: ChunkConfig) -> dict[str, Any]:
    """Annotations of the settings that are ours; RLlib's own are checked by their defaults."""
    hints: dict[str, Any] = {}
    for cls in reversed(type(config).__mro__):
        if cls.__module__.startswith("dppo_rllib.") and "training" in vars(cls):
            hints |= typing.get_type_hints(vars(cls)["training"])
    return hints


def _check_type(key: str, value: Any, current: Any, hint: Any) -> None:
    if hint is not None:
        fits, expected = _fits(value, hint), _describe(hint)
    else:
        fits, expected = _fits_default(value, current), type(current).__name__
    if not fits:
        raise ValueError(f"--set {key}={value!r}: expected {expected}")


def _fits_default(value: Any, current: Any) -> bool:
    if current is None or callable(current):
        return True
    if isinstance(current, bool):
        return isinstance(value, bool)
    if isinstance(current, (int, float)):
        # RLlib mixes the two in its defaults.
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(current, (list, tuple)):
        return isinstance(value, (list, tuple))
    if isinstance(current, Mapping):
        return isinstance(value, Mapping)
    return not isinstance(current, str) or isinstance(value, str)


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, option) for option in typing.get_args(hint))
    if hint is Any:
        return True
    if hint in (type(None), bool, str):
        return isinstance(value, hint)
    if hint in (int, float):
        kinds = (int,) if hint is int else (int, float)
        return isinstance(value, kinds) and not isinstance(value, bool)
    base = origin or hint
    if isinstance(base, type) and issubclass(list, base):
        return isinstance(value, (list, tuple))
    if isinstance(base, type) and issubclass(dict, base):
        return isinstance(value, Mapping)
    return False


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_describe(option) for option in typing.get_args(hint))
    if hint is type(None):
        return "null"
    base = typing.get_origin(hint) or hint
    if isinstance(base, type) and issubclass(list, base):
        return "list"
    if isinstance(base, type) and issubclass(dict, base):
        return "dictionary"
    return getattr(base, "__name__", str(base))
