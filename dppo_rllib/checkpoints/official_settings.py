"""Dimensions and settings on which weights, normalisation, arguments and the authors agree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from dppo_rllib.checkpoints.official_architecture import NetworkShape, Weights
from dppo_rllib.checkpoints.official_families import Authors, authors_of
from dppo_rllib.checkpoints.official_vision import VisionShape
from dppo_rllib.environments import Normalization
from dppo_rllib.networks.vit import num_patches


def given_action_dim(normalization: Normalization | None, action_dim: int | None) -> int | None:
    """`Da` as normalisation and argument have it, None if there is neither.

    Raises:
        ValueError: They differ.
    """
    if normalization is None:
        return action_dim
    actions = len(normalization.action_min)
    if action_dim not in (None, actions):
        raise ValueError(f"action_dim={action_dim}: normalization has {actions} actions")
    return actions


def action_and_horizon(
    shape: NetworkShape, weights: Weights, action_dim: int | None, horizon_steps: int | None
) -> tuple[int, int | None]:
    """`Da`, and `Tp` where weights or argument tell it.

    Raises:
        ValueError: Nothing tells `Da`, or weights contradict what was given.
    """
    another = "is it the normalization of another task?"
    if shape.action_dim is not None:
        if action_dim not in (None, shape.action_dim):
            raise ValueError(
                f"action_dim={action_dim}: actions in {weights.path} have {shape.action_dim} "
                f"numbers; {another}"
            )
        action_dim = shape.action_dim
    if action_dim is None:
        raise ValueError(
            f"action_dim: {weights.path} only tells that chunks have {shape.chunk_dim} numbers; "
            "pass normalization=..., the normalization.npz of its demonstrations, or action_dim=..."
        )
    told = shape.horizon_steps
    if shape.chunk_dim is not None:
        if action_dim < 1 or shape.chunk_dim % action_dim:
            raise ValueError(
                f"action_dim={action_dim}: expected a divisor of {shape.chunk_dim}, the size of "
                f"the chunks in {weights.path}; {another}"
            )
        told = shape.chunk_dim // action_dim
    if told is not None and horizon_steps not in (None, told):
        raise ValueError(
            f"horizon_steps={horizon_steps}: chunks in {weights.path} have {told} actions"
        )
    return action_dim, horizon_steps if told is None else told


def observation_dim(
    shape: NetworkShape, weights: Weights, normalization: Normalization | None, cond_steps: int
) -> int:
    """`Do`.

    Raises:
        ValueError: The history cannot have that many steps, or the normalisation contradicts it.
    """
    cond_dim, path = shape.cond_dim, weights.path
    if cond_steps < 1 or cond_dim % cond_steps:
        raise ValueError(
            f"cond_steps={cond_steps}: expected a divisor of {cond_dim}, the size of the "
            f"observation history in {path}"
        )
    obs_dim = cond_dim // cond_steps
    if normalization is not None and normalization.obs_min is not None:
        given = len(normalization.obs_min)
        if given != obs_dim:
            fits = given > 0 and cond_dim % given == 0
            hint = f"pass cond_steps={cond_dim // given}" if fits else "is it another task's?"
            raise ValueError(
                f"normalization: obs_min has {given} entries, but with cond_steps={cond_steps} "
                f"observations have {obs_dim} in {path}; {hint}"
            )
    return obs_dim


class Settings(NamedTuple):
    """What weights do not tell.

    Attributes:
        values: By name of an argument; a dot leads to a field of `network` or `vision`.
        assumed: Those that were taken from the authors, and their family, for provenance.
    """

    values: dict[str, Any]
    assumed: dict[str, Any]


def fields_of(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of "network" or "vision" among values by name."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def find_authors(
    shape: NetworkShape,
    vision: VisionShape | None,
    obs_dim: int,
    action_dim: int,
    horizon_steps: int | None,
) -> Authors:
    """What the authors have for such a policy, see `official_families`."""
    authors = authors_of(
        shape.architecture, obs_dim, action_dim, horizon_steps, pictures=vision is not None
    )
    size = authors.settings.get("image_size")
    if vision is None or size is None:
        return authors
    height, width = size
    if num_patches(height, width, vision.told["embed_style"]) == vision.patches:
        return authors
    others = {name: value for name, value in authors.settings.items() if name != "image_size"}
    return Authors(authors.family, others)


def complete(
    required: Iterable[str],
    optional: Iterable[str],
    given: Mapping[str, Any],
    authors: Authors,
    subject: str,
) -> Settings:
    """Settings as given, else as the authors have them.

    Args:
        required: Names without which there is no policy.
        optional: Names that have a default.
        given: Arguments by name, None where not given.
        authors: What the authors have.
        subject: What the policy is called in messages.

    Raises:
        ValueError: Something required is neither given nor the same in all of the authors'
            configurations.
    """
    required = tuple(required)
    values = {k: v for k, v in given.items() if v is not None}
    assumed = {
        name: authors.settings[name]
        for name in (*required, *optional)
        if name not in values and name in authors.settings
    }
    if missing := [name for name in required if name not in values and name not in assumed]:
        raise ValueError(
            f"{', '.join(missing)}: not told by the weights of {subject}, and the authors have no "
            f"single value for such a policy; pass {_as_arguments(missing)} as in its training"
        )
    family = {"family": authors.family} if authors.family and assumed else {}
    return Settings(values | assumed, family | assumed)


def _as_arguments(names: list[str]) -> str:
    """Names as they are passed to `import_official`."""
    groups: dict[str, list[str]] = {}
    for name in names:
        argument, _, field = name.partition(".")
        groups.setdefault(argument, []).append(field)
    return ", ".join(
        f"{argument}={{{', '.join(f'{name!r}: ...' for name in group)}}}"
        if group != [""]
        else f"{argument}=..."
        for argument, group in groups.items()
    )


def check_overrides(
    name: str,
    config: type,
    told: Mapping[str, Any],
    given: Mapping[str, Any],
    weights: Weights,
) -> None:
    """Checks fields that were given beside those that weights tell.

    Args:
        name: "network" or "vision".
        config: What they are fields of.
        told: What weights tell.
        given: Arguments by name.
        weights: Of the network, for messages.

    Raises:
        ValueError: There is no such field, it has an argument of its own, or it contradicts the
            weights.
    """
    known = [field.name for field in fields(config) if field.name != "activation"]
    for field, value in fields_of(name, given).items():
        if field == "activation":
            raise ValueError(f"{name}: holds ['activation'], which is an argument of its own")
        if field not in known:
            raise ValueError(f"{name}.{field}: unknown field; expected one of {known}")
        if field in told and told[field] != value:
            raise ValueError(
                f"{name}.{field}={value!r}: weights in {weights.path} are of {told[field]!r}"
            )
