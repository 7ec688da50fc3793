"""Configurations as plain dictionaries: checked, completed, built."""

from __future__ import annotations

import dataclasses
import numbers
import types
import typing
from collections.abc import Mapping
from typing import Any

NetworkTypes = dict[str, tuple[type, type]]  # type -> (configuration, network)


def build_dataclass(cls: Any, values: Mapping[str, Any]) -> Any:
    """Builds dataclass `cls` from a dictionary (lists become tuples).

    Raises:
        ValueError: A key is not a field of `cls`, a value has another type than its field, or a
            required field is missing.
    """
    check_fields(cls, values)
    hints = typing.get_type_hints(cls)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    for key, value in values.items():
        if not fits(value, hints[key]):
            raise ValueError(f"{cls.__name__}.{key}={value!r}: expected {in_words(hints[key])}")
    try:
        return cls(**values)
    except TypeError as error:
        raise ValueError(f"{cls.__name__}: {error}") from error


def complete(cls: Any, values: Any, name: str, defaults: Mapping[str, Any] = {}) -> dict[str, Any]:
    """All fields of dataclass `cls` as a plain dictionary; values may be search spaces yet.

    Args:
        cls: The dataclass.
        values: One of it, or some of its fields.
        name: What messages call it.
        defaults: What differs from the defaults of `cls` where `values` says nothing.

    Raises:
        ValueError: `values` is neither, or has a key that is not a field.
    """
    if isinstance(values, cls):
        return dataclasses.asdict(values)
    if not isinstance(values, Mapping):
        raise ValueError(
            f"{name}={values!r}: expected a {cls.__name__}, or a dictionary of its fields"
        )
    check_fields(cls, values)
    return {**dataclasses.asdict(cls()), **defaults, **values}


def check_fields(cls: Any, values: Mapping[str, Any]) -> None:
    """Raises ValueError if a key is not a field of dataclass `cls`."""
    names = [f.name for f in dataclasses.fields(cls)]
    for key in values:
        if key not in names:
            raise ValueError(f"{cls.__name__}.{key}: unknown field; expected one of {names}")


def network_to_dict(config: Any, types: NetworkTypes) -> dict[str, Any]:
    """An architecture as a plain dictionary, with its type.

    Raises:
        ValueError: It is not one of `types`.
    """
    names = [name for name, (cls, _) in types.items() if isinstance(config, cls)]
    if not names:
        expected = " or ".join(cls.__name__ for cls, _ in types.values())
        raise ValueError(f"network={config!r}: expected {expected}, or a dictionary of its fields")
    return {"type": names[0], **dataclasses.asdict(config)}


def complete_network(
    values: Any, types: NetworkTypes, defaults: Mapping[str, Any] = {}
) -> dict[str, Any]:
    """As `complete`, of the architecture that `type` names; without one it is an MLP.

    Raises:
        ValueError: There is no such type, or a key is not a field.
    """
    if not isinstance(values, Mapping):
        return network_to_dict(values, types)
    name = values.get("type", "mlp")
    if not isinstance(name, str):  # a search space: its fields are known when one is drawn
        return dict(values)
    fields = {k: v for k, v in values.items() if k != "type"}
    return {"type": name, **complete(_architecture(name, types), fields, "network", defaults)}


def network_from_dict(values: Mapping[str, Any], types: NetworkTypes) -> Any:
    """Inverse of `network_to_dict`; without a type it is an MLP.

    Raises:
        ValueError: The type or a key is unknown.
    """
    fields = {k: v for k, v in values.items() if k != "type"}
    return build_dataclass(_architecture(values.get("type", "mlp"), types), fields)


def _architecture(name: str, types: NetworkTypes) -> Any:
    if name not in types:
        raise ValueError(f"network.type={name!r}: expected one of {sorted(types)}")
    return types[name][0]


def fits(value: Any, hint: Any) -> bool:
    """Whether a value from JSON or a configuration is what a type hint says."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, option) for option in args)
    if hint is Any:
        return True
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    base = origin or hint
    if not isinstance(base, type):
        return False
    if base is tuple or (base is not object and issubclass(list, base)):
        return isinstance(value, (list, tuple)) and _elements_fit(value, args)
    return isinstance(value, Mapping if issubclass(dict, base) else base)


def _elements_fit(values: list | tuple, hints: tuple[Any, ...]) -> bool:
    if len(hints) > 1 and hints[-1] is not Ellipsis:
        return len(values) == len(hints) and all(map(fits, values, hints))
    return not hints or all(fits(value, hints[0]) for value in values)


def in_words(hint: Any) -> str:
    """A type hint for people."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(in_words(option) for option in args)
    if hint is type(None):
        return "null"
    base = origin or hint
    if base is tuple or (isinstance(base, type) and base is not object and issubclass(list, base)):
        return f"a list of {in_words(args[0])}" if args else "a list"
    if isinstance(base, type) and issubclass(dict, base):
        return "a dictionary"
    return getattr(base, "__name__", str(base))
