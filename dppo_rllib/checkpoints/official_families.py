"""What the authors' configurations agree on, where weights cannot tell it.

Names are those of the arguments of `import_official`; a dot leads to a field of `network` or
`vision`. A task is recognised by its dimensions. Where their configurations for it differ, there is
no entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dppo_rllib.networks import DiffusionMLPConfig, UNet1DConfig
from dppo_rllib.networks.gaussian import GaussianMLPConfig
from dppo_rllib.networks.gmm import GMMMLPConfig
from dppo_rllib.networks.transformer import GaussianTransformerConfig, GMMTransformerConfig

# Configuration by architecture. A standard deviation by state is an architecture of its own.
ARCHITECTURES: dict[str, type] = {
    "diffusion mlp": DiffusionMLPConfig,
    "diffusion unet": UNet1DConfig,
    "gaussian mlp": GaussianMLPConfig,
    "gaussian mlp by state": GaussianMLPConfig,
    "gaussian transformer": GaussianTransformerConfig,
    "gmm mlp": GMMMLPConfig,
    "gmm transformer": GMMTransformerConfig,
}
# What no configuration of such policies has otherwise, on whatever task.
_EVERYWHERE: dict[str, dict[str, Any]] = {
    "diffusion unet": {"activation": "Mish"},
    "gaussian mlp": {"network.tanh_output": True, "randn_clip_value": 3.0},
    "gaussian mlp by state": {"network.tanh_output": True, "randn_clip_value": 3.0},
    "gaussian transformer": {"activation": "gelu", "randn_clip_value": 3.0},
    "gmm transformer": {"activation": "gelu"},
}


class Authors(NamedTuple):
    """What the authors have for a policy.

    Attributes:
        family: Which of their tasks it belongs to, None if to none.
        settings: Values by name.
    """

    family: str | None
    settings: dict[str, Any]


class _Family(NamedTuple):
    """Tasks `(Do, Da, Tp)` whose configurations have the same settings."""

    name: str
    tasks: set[tuple[int, int, int]]
    settings: Mapping[str, Any]


_DDPM = {"denoising_steps": 20, "min_sampling_denoising_std": 0.1}
_DDIM = {"denoising_steps": 100, "ddim_steps": 5}
_DDIM_01 = _DDIM | {"min_sampling_denoising_std": 0.1}
_DDIM_004 = _DDIM | {"min_sampling_denoising_std": 0.04}
_RELU, _MISH = {"activation": "ReLU"}, {"activation": "Mish"}
_STD = {"network.fixed_std": 0.1}
_GROUPS = {"network.n_groups": 8, "network.groupnorm_eps": 1e-5}
_FURNITURE_GROUPS = {"network.n_groups": 8}  # epsilon is 1e-4 in some, 1e-5 in others
_HEADS = {"network.num_heads": 4}
_PICTURES = {"vision.num_heads": 4, "image_size": (96, 96)}

_GYM, _AVOID, _KITCHEN = {(11, 3, 4), (17, 6, 4)}, {(4, 2, 4)}, {(60, 9, 4)}
_GYM_SINGLE_STEP = {(11, 3, 1), (17, 6, 1)}
_FURNITURE = {(58, 10, 8), (44, 10, 8)}
_ROBOMIMIC = {(19, 7, 4), (23, 7, 4), (59, 14, 8)}
_ROBOMIMIC_SINGLE_STEP = {(23, 7, 1)}
_ROBOMIMIC_PICTURES = {(9, 7, 4), (18, 14, 8)}

_WITH_STATES: dict[str, list[_Family]] = {
    "diffusion mlp": [
        # Theirs with the exact likelihood on Hopper has Mish, on a base that was trained with ReLU.
        _Family("Gym", _GYM, _RELU | _DDPM),
        # Without `denoising_steps`: 20, or 10 from scratch.
        _Family("Gym", _GYM_SINGLE_STEP, _RELU | {"min_sampling_denoising_std": 0.1}),
        _Family("Kitchen", _KITCHEN, _MISH | _DDPM),
        _Family("Avoid", _AVOID, _RELU | _DDPM),
        _Family("Robomimic", _ROBOMIMIC | _ROBOMIMIC_SINGLE_STEP, _MISH | _DDPM),
        _Family("Furniture-Bench", _FURNITURE, _MISH | _DDIM_004),
    ],
    "diffusion unet": [
        _Family("Robomimic", {(19, 7, 4), (23, 7, 4)}, _DDPM | _GROUPS | {"act_steps": 4}),
        _Family("Robomimic", {(59, 14, 16)}, _DDPM | _GROUPS | {"act_steps": 8}),
        _Family(
            "Furniture-Bench",
            {(58, 10, 16), (44, 10, 16)},
            _DDIM_004 | _FURNITURE_GROUPS | {"act_steps": 8},
        ),
    ],
    "gaussian mlp": [
        _Family("Gym", _GYM_SINGLE_STEP, _MISH | _STD),
        _Family("Kitchen", _KITCHEN, _MISH | _STD),
        _Family("Kitchen", {(60, 9, 1)}, _RELU | _STD),
        _Family("Avoid", _AVOID, _RELU | _STD),
        _Family("Robomimic", _ROBOMIMIC, _MISH | _STD),
        _Family("Robomimic", _ROBOMIMIC_SINGLE_STEP, _RELU | _STD),
        _Family("Furniture-Bench", _FURNITURE, _RELU | _STD),
    ],
    "gaussian mlp by state": [_Family("Gym", _GYM_SINGLE_STEP, _RELU)],
    "gaussian transformer": [_Family("Robomimic", _ROBOMIMIC, _HEADS | _STD)],
    "gmm mlp": [
        _Family("Avoid", _AVOID, _RELU | _STD),
        _Family("Robomimic", _ROBOMIMIC, _MISH | _STD),
    ],
    "gmm transformer": [_Family("Robomimic", _ROBOMIMIC, _HEADS | _STD)],
}
_WITH_PICTURES: dict[str, list[_Family]] = {
    "diffusion mlp": [
        _Family("Robomimic, pictures", _ROBOMIMIC_PICTURES, _MISH | _DDIM_01 | _PICTURES)
    ],
    "diffusion unet": [
        _Family(
            "Robomimic, pictures", {(9, 7, 4)}, _DDIM_01 | _GROUPS | _PICTURES | {"act_steps": 4}
        ),
        _Family(
            "Robomimic, pictures",
            {(18, 14, 16)},
            _DDIM_01 | _GROUPS | _PICTURES | {"act_steps": 8},
        ),
    ],
    "gaussian mlp": [_Family("Robomimic, pictures", _ROBOMIMIC_PICTURES, _MISH | _STD | _PICTURES)],
}


def authors_of(
    architecture: str, obs_dim: int, action_dim: int, horizon_steps: int | None, *, pictures: bool
) -> Authors:
    """What the authors have for such a policy.

    Args:
        architecture: One of `ARCHITECTURES`.
        obs_dim: `Do`.
        action_dim: `Da`.
        horizon_steps: `Tp`; None takes theirs for the task, which is then among the settings.
        pictures: Whether it sees any.
    """
    everywhere = _EVERYWHERE.get(architecture, {})
    tables = _WITH_PICTURES if pictures else _WITH_STATES
    for family in tables.get(architecture, []):
        for *dims, horizon in family.tasks:
            if dims == [obs_dim, action_dim] and horizon_steps in (None, horizon):
                theirs = everywhere | dict(family.settings)
                return Authors(family.name, theirs | {"horizon_steps": horizon})
    return Authors(None, dict(everywhere))
