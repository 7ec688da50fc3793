"""The architecture of a denoiser, read off its weights."""

from __future__ import annotations

import math

from dppo_rllib.checkpoints.official_architecture import (
    NetworkShape,
    Weights,
    read_mlp,
    read_state_features,
)


def read_denoiser(weights: Weights, visual_dim: int) -> NetworkShape:
    """The MLP or the U-Net.

    Args:
        weights: Of the denoiser.
        visual_dim: Features of its pictures, 0 without.

    Raises:
        ValueError: A key that tells it is missing, or shapes do not fit each other.
    """
    unet, mlp = weights.has("time_mlp."), weights.has("time_embedding.")
    if unet and mlp:
        raise ValueError(
            f"{weights.path}: keys of a U-Net ({weights.name('time_mlp.*')}) and of an MLP "
            f"({weights.name('time_embedding.*')}), expected one of them"
        )
    return (_read_unet if unet else _read_mlp)(weights, visual_dim)


def _read_mlp(weights: Weights, visual_dim: int) -> NetworkShape:
    time_dim = weights.shape("time_embedding.1.weight")[1]
    (width, *hidden, chunk_dim), style = read_mlp(weights, "mlp_mean")
    features = read_state_features(weights, width - chunk_dim - time_dim, visual_dim)
    told = {
        "mlp_dims": tuple(hidden),
        "time_dim": time_dim,
        "cond_mlp_dims": features.cond_mlp_dims,
    }
    return NetworkShape(
        architecture="diffusion mlp",
        told=told | style,
        untold=("activation",),
        cond_dim=features.cond_dim,
        chunk_dim=chunk_dim,
    )


def _read_unet(weights: Weights, visual_dim: int) -> NetworkShape:
    time_dim = weights.shape("time_mlp.1.weight")[1]
    levels = max(weights.count("down_modules"), 1)
    blocks = [f"down_modules.{level}.0" for level in range(levels)]
    shapes = [weights.shape(f"{block}.blocks.0.block.0.weight", axes=3) for block in blocks]
    channels = [shape[0] for shape in shapes]
    dim = math.gcd(*channels)
    groups = weights.has("down_modules.0.0.blocks.0.block.2.")
    one_layer = weights.has("down_modules.0.0.cond_encoder.1.")
    encoder = "down_modules.0.0.cond_encoder"
    cond_width = weights.shape(f"{encoder}.{1 if one_layer else 0}.weight")
    features = read_state_features(weights, cond_width[1] - time_dim, visual_dim)
    told = {
        "diffusion_step_embed_dim": time_dim,
        "dim": dim,
        "dim_mults": tuple(width // dim for width in channels),
        "kernel_size": shapes[0][2],
        "cond_predict_scale": cond_width[0] == 2 * channels[0],
        "cond_mlp_dims": features.cond_mlp_dims,
    }
    if not groups:
        told["n_groups"] = None
    if features.cond_mlp_dims is None:  # else encoders have one layer in any case
        told["smaller_encoder"] = one_layer
    return NetworkShape(
        architecture="diffusion unet",
        told=told,
        untold=("activation", *(("network.n_groups", "network.groupnorm_eps") if groups else ())),
        cond_dim=features.cond_dim,
        action_dim=shapes[0][1],
    )
