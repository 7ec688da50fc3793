"""DDIM's noise level in a checkpoint: a constant, or a network that fine-tuning learns.

The authors' constant (`EtaFixed`) is stored as a parameter, but never learns: their code takes it
out of the graph. It becomes `DenoisingConfig.eta`, the others become `learned_eta`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from dppo_rllib.checkpoints.official_architecture import Weights, check_state, read_mlp
from dppo_rllib.checkpoints.official_file import OfficialFile
from dppo_rllib.networks import EtaConfig, build_eta

# In every configuration of the authors; all of them have a constant.
_RANGE = {"min_eta": 0.1, "max_eta": 1.0}


class EtaShape(NamedTuple):
    """What a checkpoint tells of DDIM's noise level.

    Attributes:
        constant: `DenoisingConfig.eta`, None where it is not told.
        learned: The noise level that is learned, None without one.
        assumed: What was taken from the authors, by name.
    """

    constant: float | None = None
    learned: EtaConfig | None = None
    assumed: dict[str, Any] = {}


def read_eta(
    file: OfficialFile,
    overrides: Mapping[str, Any],
    *,
    ddim_steps: int | None,
    cond_dim: int,
    action_dim: int,
) -> EtaShape:
    """The noise level, checked against the sampler.

    Args:
        file: The checkpoint.
        overrides: Fields of `EtaConfig` that weights cannot tell.
        ddim_steps: Sampler steps of DDIM, None for DDPM.
        cond_dim: `To * Do`.
        action_dim: `Da`.

    Raises:
        ValueError: Weights and sampler contradict each other, weights are of no noise level of the
            authors, or a value that they cannot tell is missing or contradicts them.
    """
    if file.eta is None:
        _check_without(file, overrides, ddim_steps)
        return EtaShape()
    weights = Weights(file.eta, "eta", file.path)
    if ddim_steps is None:
        raise ValueError(
            f"ddim_steps=None: {file.path} has {_names(weights)}, so it was fine-tuned with DDIM; "
            "pass denoising_steps=... and ddim_steps=... as in its training"
        )
    logit = file.eta.get("eta_logit")
    if logit is not None and logit.numel() == 1 and overrides.get("kind") != "action":
        if overrides:
            raise ValueError(
                f"learned_eta={dict(overrides)}: {file.path} has a constant noise level of DDIM, "
                "expected none"
            )
        check_state(weights, build_eta(EtaConfig("fixed"), cond_dim=cond_dim, action_dim=1))
        return EtaShape(constant=_level(logit.item()))
    return _read_learned(weights, overrides, cond_dim, action_dim)


def _check_without(
    file: OfficialFile, overrides: Mapping[str, Any], ddim_steps: int | None
) -> None:
    if file.actor_ft is not None and ddim_steps is not None:
        raise ValueError(
            f"ddim_steps={ddim_steps}: {file.path} has no eta.eta_logit, so it was fine-tuned "
            "with DDPM; pass denoising_steps=... without ddim_steps"
        )
    if overrides:
        raise ValueError(
            f"learned_eta={dict(overrides)}: {file.path} has no eta.*, so it has no learned noise "
            "level"
        )


def _read_learned(
    weights: Weights, overrides: Mapping[str, Any], cond_dim: int, action_dim: int
) -> EtaShape:
    if "eta_logit" in weights.state:
        told: dict[str, Any] = {"kind": "action"}
        if not weights.tensor("eta_logit").isfinite().all():
            told["learnable"] = False  # a bound, where nothing can be learned
        asked: tuple[str, ...] = ()
        assumed: dict[str, Any] = dict(_RANGE)
    else:
        _, *hidden, width = read_mlp(weights, "mlp_res").dims
        told = {"kind": "state" if width == 1 else "state_action", "mlp_dims": tuple(hidden)}
        asked = ("base_eta", *_RANGE)
        assumed = {"activation": "ReLU"}  # their default
    known = {field.name for field in fields(EtaConfig)}
    for name, value in overrides.items():
        if name not in known:
            raise ValueError(f"learned_eta.{name}: unknown field, expected one of {sorted(known)}")
        if name in told and value != told[name]:
            raise ValueError(
                f"learned_eta.{name}={value!r}: {_names(weights)} in {weights.path} are of "
                f"{told[name]!r}"
            )
    if missing := [name for name in asked if name not in overrides]:
        raise ValueError(
            f"learned_eta: {_names(weights)} in {weights.path} do not tell {missing}, and none of "
            "the authors' configurations learns a noise level of the state; pass learned_eta="
            f"{{{', '.join(f'{name!r}: ...' for name in missing)}}}"
        )
    assumed = {name: value for name, value in assumed.items() if name not in overrides}
    values = told | assumed | dict(overrides)
    # Where a logit starts does not matter to one that is known; the middle is always possible.
    values.setdefault("base_eta", (values.get("min_eta", 0) + values.get("max_eta", 0)) / 2)
    config = EtaConfig(**values)
    check_state(weights, build_eta(config, cond_dim=cond_dim, action_dim=action_dim))
    return EtaShape(
        learned=config,
        assumed={f"learned_eta.{name}": value for name, value in assumed.items()},
    )


def _level(logit: float) -> float:
    """The authors' tanh of a logit, on their range."""
    share = (math.tanh(logit) + 1) / 2
    low, high = _RANGE.values()
    return round(low + share * (high - low), 6)  # logits are float32


def _names(weights: Weights) -> list[str]:
    return sorted(weights.name(key) for key in weights.state)
