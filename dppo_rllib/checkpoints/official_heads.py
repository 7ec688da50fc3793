"""The architecture of a Gaussian head or a mixture, read off its weights."""

from __future__ import annotations

import math
from typing import Any

from dppo_rllib.checkpoints.official_architecture import (
    MLPShape,
    NetworkShape,
    Weights,
    read_mlp,
    read_state_features,
)


def read_head(kind: str, weights: Weights, visual_dim: int, action_dim: int | None) -> NetworkShape:
    """The MLP or the transformer.

    Args:
        kind: "gaussian" or "gmm".
        weights: Of the head.
        visual_dim: Features of its pictures, 0 without.
        action_dim: `Da` as far as it is known.

    Raises:
        ValueError: A key that tells it is missing, shapes do not fit each other, or the standard
            deviation is of a form without a counterpart here.
    """
    transformer, mlp = weights.has("transformer."), weights.has("mlp_mean.")
    if transformer and mlp:
        raise ValueError(
            f"{weights.path}: keys of a transformer ({weights.name('transformer.*')}) and of an "
            f"MLP ({weights.name('mlp_mean.*')}), expected one of them"
        )
    if transformer:
        return _read_transformer(kind, weights, visual_dim, action_dim)
    return (_read_gmm_mlp if kind == "gmm" else _read_gaussian_mlp)(weights, visual_dim)


def _read_gaussian_mlp(weights: Weights, visual_dim: int) -> NetworkShape:
    if weights.has("mlp_logvar.") and not weights.has("mlp_base."):
        raise ValueError(
            f"{weights.path}: {weights.name('mlp_logvar.*')} without {weights.name('mlp_base.*')} "
            "is a standard deviation that depends on pictures by a network of its own, which is "
            "not supported; none of the authors' configurations has one"
        )
    by_state = weights.has("mlp_base.")
    if by_state:
        dims, style = _read_base(weights)
        hidden, chunk_dim = dims[1:], read_mlp(weights, "mlp_mean").dims[-1]
    else:
        (*dims, chunk_dim), style = read_mlp(weights, "mlp_mean")
        hidden = dims[1:]
    std = _read_std(weights, by_state=by_state)
    return NetworkShape(
        architecture="gaussian mlp by state" if by_state else "gaussian mlp",
        told={"mlp_dims": tuple(hidden)} | style | std,
        untold=("activation", "network.tanh_output", *_untold_std(std)),
        cond_dim=read_state_features(weights, dims[0], visual_dim).cond_dim,
        chunk_dim=chunk_dim,
        action_dim=_width_of_std(weights),
        defaults=_start_of_std(weights),
    )


def _read_base(weights: Weights) -> MLPShape:
    """Hidden layers that mean and standard deviation share; LayerNorm may also stand at the end."""
    dims, style = read_mlp(weights, "mlp_base")
    if style["residual"]:
        after = f"mlp_base.layers.{weights.count('mlp_base.layers') - 1}.weight"
        style["use_layernorm"] |= weights.tensor(after).ndim == 1
    return MLPShape(dims, style)


def _read_gmm_mlp(weights: Weights, visual_dim: int) -> NetworkShape:
    (*dims, modes_dim), style = read_mlp(weights, "mlp_mean")
    num_modes = read_mlp(weights, "mlp_weights").dims[-1]
    std = _read_std(weights, by_state=weights.has("mlp_logvar."))
    return NetworkShape(
        architecture="gmm mlp",
        told={"mlp_dims": tuple(dims[1:]), "num_modes": num_modes} | style | std,
        untold=("activation", *_untold_std(std)),
        cond_dim=read_state_features(weights, dims[0], visual_dim).cond_dim,
        chunk_dim=_per_mode(modes_dim, num_modes, "mlp_mean.*", weights),
        action_dim=_width_of_std(weights, num_modes),
        defaults=_start_of_std(weights),
    )


def _read_transformer(
    kind: str, weights: Weights, visual_dim: int, action_dim: int | None
) -> NetworkShape:
    embed_dim, width = weights.shape("transformer.cond_obs_emb.weight")
    horizon = weights.shape("transformer.pos_emb", axes=3)[1]
    out = weights.shape("transformer.head.weight")[0]
    told: dict[str, Any] = {
        "embed_dim": embed_dim,
        "num_layers": weights.count("transformer.decoder.layers"),
    }
    num_modes = 1
    if kind == "gmm":
        num_modes = told["num_modes"] = weights.shape("modes_head.weight")[0]
    per_mode = _per_mode(out, num_modes, "transformer.head.weight", weights)
    known = _width_of_std(weights, num_modes) or action_dim
    if known is None:
        raise ValueError(
            f"action_dim: {weights.path} tells only that its transformer gives {per_mode} numbers "
            "per action, which are means, or means and standard deviations; pass "
            "normalization=..., the normalization.npz of its demonstrations, or action_dim=..."
        )
    if per_mode not in (known, 2 * known):
        raise ValueError(
            f"action_dim={known}: the transformer in {weights.path} gives {per_mode} numbers per "
            f"action, expected {known} or {2 * known}; is it the normalization of another task?"
        )
    std = _read_std(weights, by_state=per_mode != known)
    return NetworkShape(
        architecture=f"{kind} transformer",
        told=told | std,
        untold=("activation", "network.num_heads", *_untold_std(std)),
        cond_dim=read_state_features(weights, width, visual_dim).cond_dim,
        horizon_steps=horizon,
        action_dim=known,
        defaults=_start_of_std(weights),
    )


def _per_mode(out: int, num_modes: int, key: str, weights: Weights) -> int:
    if out % num_modes:
        raise ValueError(
            f"{weights.path}: {weights.name(key)} gives {out} numbers, expected a multiple of the "
            f"{num_modes} modes"
        )
    return out // num_modes


def _read_std(weights: Weights, *, by_state: bool) -> dict[str, Any]:
    """Fields of `StdConfig`, without `fixed_std` where it is a constant."""
    told: dict[str, Any] = {"learn_fixed_std": "logvar" in weights.state}
    if by_state:
        told["fixed_std"] = None
    for bound in ("min", "max"):
        logvar = weights.tensor(f"logvar_{bound}")
        if logvar.numel() != 1:
            raise ValueError(
                f"{weights.path}: {weights.name(f'logvar_{bound}')} has shape "
                f"{tuple(logvar.shape)}, expected one number"
            )
        told[f"std_{bound}"] = _std_of(logvar.item())
    return told


def _untold_std(std: dict[str, Any]) -> tuple[str, ...]:
    """A constant is no weight."""
    return () if std["learn_fixed_std"] or "fixed_std" in std else ("network.fixed_std",)


def _width_of_std(weights: Weights, num_modes: int = 1) -> int | None:
    """`Da`, where there is a standard deviation per action dimension (and mode)."""
    if "logvar" not in weights.state:
        return None
    return _per_mode(weights.shape("logvar", axes=1)[0], num_modes, "logvar", weights)


def _start_of_std(weights: Weights) -> dict[str, Any]:
    """A learned standard deviation goes on from where it is: `fixed_std` is their mean."""
    if "logvar" not in weights.state:
        return {}
    low, high = (weights.tensor(f"logvar_{bound}").item() for bound in ("min", "max"))
    mean = weights.tensor("logvar").clamp(low, high).mean().item()
    return {"fixed_std": _std_of(mean)}


def _std_of(logvar: float) -> float:
    return float(f"{math.exp(0.5 * logvar):.6g}")  # logarithms are float32
