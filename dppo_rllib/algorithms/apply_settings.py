"""Settings by (dotted) name, put into a configuration and checked."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from typing import Any

from dppo_rllib.algorithms.chunk_config import DESCRIBED, ChunkConfig
from dppo_rllib.modules.config_dicts import fits, in_words


def apply_settings(config: ChunkConfig, settings: Mapping[str, Any]) -> None:
    """Puts settings into a configuration.

    Raises:
        ValueError: A key is unknown, or a value has the wrong type.
    """
    hints = _type_hints(config)
    update: dict[str, Any] = {}
    for key, value in sorted(settings.items(), key=_order):
        name, *path = key.split(".")
        if name.startswith("_"):
            raise ValueError(f"{key}: settings with an underscore are internal")
        if name == "lambda":  # RLlib's own spelling of lambda_
            raise ValueError("lambda: did you mean lambda_?")
        current = update.get(name, getattr(config, name, None))
        if key == "network.type":
            update[name] = config.stored(name, {"type": value})
        elif not path:
            if hasattr(config, name):
                _check_type(key, value, current, hints.get(name))
            update[name] = config.stored(name, value)
        elif name == "network" or name in DESCRIBED:
            fields = config.stored(name, {} if current is None else current)
            types = typing.get_type_hints(config.describing(name, fields))
            update[name] = _replaced(fields, path, value, key, hints=types)
        else:
            update[name] = _replaced(current, path, value, key, open_ended=name == "env_config")
    config.update_from_dict(update)


def _order(setting: tuple[str, Any]) -> tuple[bool, bool]:
    """Whole settings before parts of them, and the type of a network before its fields."""
    key, _ = setting
    return "." in key, key != "network.type"


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
    current: Any,
    path: list[str],
    value: Any,
    key: str,
    *,
    hints: Mapping[str, Any] = {},
    open_ended: bool = False,
) -> dict[str, Any]:
    """A copy of dictionary `current` with the entry at `path` replaced."""
    if not isinstance(current, Mapping):
        raise ValueError(f"{key}: {key.partition('.')[0]} is not a dictionary")
    name, *rest = path
    if name not in current and not open_ended:
        close = difflib.get_close_matches(name, [str(k) for k in current], n=3)
        raise ValueError(
            f"{key}: unknown"
            + (f"; did you mean {' or '.join(close)}?" if close else "")
            + f" Expected one of {sorted(current)}"
        )
    if rest:
        below = current.get(name, {} if open_ended else None)
        return {**current, name: _replaced(below, rest, value, key, open_ended=open_ended)}
    if name in current:
        _check_type(key, value, current[name], hints.get(name))
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
        right, expected = fits(value, hint), in_words(hint)
    else:
        right, expected = _fits_default(value, current), type(current).__name__
    if not right:
        raise ValueError(f"{key}={value!r}: expected {expected}")


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
