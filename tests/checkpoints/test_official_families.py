"""Policies of the authors' tasks need no arguments but those on which their configurations differ.

The expected values are those of the authors' YAML files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from official_files import normalization, official_state, write_pretrained

from dppo_rllib.checkpoints.official import import_official
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.networks import (
    DiffusionMLP,
    DiffusionMLPConfig,
    ObservationSpec,
    UNet1D,
    UNet1DConfig,
    VisionConfig,
)
from dppo_rllib.networks.gaussian import GaussianMLP, GaussianMLPConfig
from dppo_rllib.networks.gmm import GMMMLP, GMMMLPConfig
from dppo_rllib.networks.transformer import (
    GaussianTransformer,
    GaussianTransformerConfig,
    GMMTransformer,
    GMMTransformerConfig,
)

CONSTANT: dict[str, Any] = {"learn_fixed_std": False, "fixed_std": 0.1, "std_max": 1.0}
BY_STATE: dict[str, Any] = CONSTANT | {"fixed_std": None}
NETWORKS: dict[str, tuple[Any, Any]] = {
    "mlp": (DiffusionMLP, DiffusionMLPConfig(mlp_dims=(16,))),
    "unet": (UNet1D, UNet1DConfig(dim=8)),
    "gaussian": (GaussianMLP, GaussianMLPConfig(mlp_dims=(16,), **CONSTANT)),
    "gaussian by state": (
        GaussianMLP,
        GaussianMLPConfig(mlp_dims=(16,), residual=False, **BY_STATE),
    ),
    "gmm": (GMMMLP, GMMMLPConfig(mlp_dims=(16,), **CONSTANT)),
    "gaussian transformer": (
        GaussianTransformer,
        GaussianTransformerConfig(embed_dim=16, num_layers=1, **CONSTANT),
    ),
    "gmm transformer": (
        GMMTransformer,
        GMMTransformerConfig(embed_dim=16, num_layers=1, **CONSTANT),
    ),
}
VISION = VisionConfig(embed_dim=16, spatial_emb=8)
HOPPER, WALKER, AVOID, KITCHEN = (11, 3), (17, 6), (4, 2), (60, 9)
LIFT, CAN, TRANSPORT, ONE_LEG, LAMP = (19, 7), (23, 7), (59, 14), (58, 10), (44, 10)
CAN_PICTURES, TRANSPORT_PICTURES = (9, 7), (18, 14)


def imported(
    tmp_path: Path,
    architecture: str,
    dims: tuple[int, int],
    horizon: int,
    cameras: int,
    **given: Any,
) -> tuple[PolicyConfig, dict[str, Any]]:
    obs_dim, action_dim = dims
    cls, config = NETWORKS[architecture]
    spec = ObservationSpec(obs_dim)
    if cameras:
        vision = VisionConfig(embed_dim=16, spatial_emb=8, num_cameras=cameras)
        spec = ObservationSpec(obs_dim, (3 * cameras, 96, 96), vision)
    state = official_state(cls(config, spec, horizon_steps=horizon, action_dim=action_dim))
    path = write_pretrained(tmp_path, state)
    policy = import_official(path, normalization=normalization(obs_dim, action_dim), **given)
    assert (policy.config.obs_dim, policy.config.action_dim) == dims
    assert policy.config.image_shape == spec.image_shape
    assert policy.config.vision == spec.vision
    return policy.config, policy.provenance["assumed"]


@pytest.mark.parametrize(
    ("family", "dims", "horizon", "act_steps", "steps", "ddim", "cameras"),
    [
        ("Robomimic", LIFT, 4, 4, 20, None, 0),
        ("Robomimic", CAN, 4, 4, 20, None, 0),
        ("Robomimic", TRANSPORT, 16, 8, 20, None, 0),
        ("Robomimic, pictures", CAN_PICTURES, 4, 4, 100, 5, 1),
        ("Robomimic, pictures", TRANSPORT_PICTURES, 16, 8, 100, 5, 2),
    ],
)
def test_unet_of_a_task_needs_no_arguments(
    tmp_path: Path,
    family: str,
    dims: tuple[int, int],
    horizon: int,
    act_steps: int,
    steps: int,
    ddim: int | None,
    cameras: int,
):
    policy, assumed = imported(tmp_path, "unet", dims, horizon, cameras)
    assert policy.network == NETWORKS["unet"][1]
    assert (policy.horizon_steps, policy.act_steps) == (horizon, act_steps)
    assert policy.denoising.denoising_steps == steps
    assert policy.denoising.ddim_steps == ddim
    assert policy.min_sampling_denoising_std == 0.1
    pictures = {"vision.num_heads": 4, "image_size": [96, 96], "vision.img_cond_steps": 1}
    assert assumed == (
        {
            "family": family,
            "denoising_steps": steps,
            "activation": "Mish",
            "network.n_groups": 8,
            "network.groupnorm_eps": 1e-5,
            "horizon_steps": horizon,
            "act_steps": act_steps,
            "min_sampling_denoising_std": 0.1,
        }
        | ({} if ddim is None else {"ddim_steps": ddim})
        | (pictures if cameras else {})
    )


@pytest.mark.parametrize("dims", [ONE_LEG, LAMP])
def test_unet_of_furniture_needs_its_groupnorm(tmp_path: Path, dims: tuple[int, int]):
    # 1e-4 in some of their configurations, 1e-5 in others.
    with pytest.raises(ValueError, match="^network.groupnorm_eps: not told by the weights"):
        imported(tmp_path, "unet", dims, 16, 0)
    policy, _ = imported(tmp_path, "unet", dims, 16, 0, network={"groupnorm_eps": 1e-4})
    assert policy.network.groupnorm_eps == 1e-4
    assert (policy.horizon_steps, policy.act_steps) == (16, 8)
    assert policy.denoising.denoising_steps == 100
    assert policy.denoising.ddim_steps == 5
    assert policy.min_sampling_denoising_std == 0.04


def test_unet_with_another_chunk_is_of_no_task(tmp_path: Path):
    with pytest.raises(ValueError, match="^denoising_steps, network.n_groups, .* act_steps: not"):
        imported(tmp_path, "unet", TRANSPORT, 8, 0, horizon_steps=8)


@pytest.mark.parametrize(
    ("network", "dims", "horizon", "activation", "cameras"),
    [
        ("mlp", CAN_PICTURES, 4, "Mish", 1),
        ("mlp", TRANSPORT_PICTURES, 8, "Mish", 2),
        ("gaussian", CAN_PICTURES, 4, "Mish", 1),
        ("gaussian", TRANSPORT_PICTURES, 8, "Mish", 2),
        ("gaussian", HOPPER, 1, "Mish", 0),
        ("gaussian", KITCHEN, 4, "Mish", 0),
        ("gaussian", KITCHEN, 1, "ReLU", 0),
        ("gaussian", AVOID, 4, "ReLU", 0),
        ("gaussian", LIFT, 4, "Mish", 0),
        ("gaussian", TRANSPORT, 8, "Mish", 0),
        ("gaussian", CAN, 1, "ReLU", 0),
        ("gaussian", LAMP, 8, "ReLU", 0),
        ("gaussian by state", WALKER, 1, "ReLU", 0),
        ("gmm", AVOID, 4, "ReLU", 0),
        ("gmm", CAN, 4, "Mish", 0),
        ("gaussian transformer", LIFT, 4, "gelu", 0),
        ("gmm transformer", TRANSPORT, 8, "gelu", 0),
    ],
)
def test_policy_of_a_task_needs_no_arguments(
    tmp_path: Path, network: str, dims: tuple[int, int], horizon: int, activation: str, cameras: int
):
    policy, assumed = imported(tmp_path, network, dims, horizon, cameras)
    expected = vars(NETWORKS[network][1]) | {"activation": activation}
    assert vars(policy.network) == expected
    assert (policy.horizon_steps, policy.act_steps) == (horizon, horizon)
    assert assumed["activation"] == activation
    assert assumed.get("network.fixed_std") == (
        0.1 if network != "gaussian by state" and network != "mlp" else None
    )


def test_pictures_of_another_size_must_be_passed(tmp_path: Path):
    cls, config = NETWORKS["mlp"]
    spec = ObservationSpec(9, (3, 84, 84), VISION)
    state = official_state(cls(config, spec, horizon_steps=4, action_dim=7))
    path = write_pretrained(tmp_path, state)
    with pytest.raises(ValueError, match=r"^image_size: .* pass image_size=\.\.\."):
        import_official(path, normalization=normalization(9, 7))
    policy = import_official(path, normalization=normalization(9, 7), image_size=(84, 84))
    assert policy.config.image_shape == (3, 84, 84)
    assert policy.config.vision.num_heads == 4


def test_states_of_the_width_of_a_task_with_pictures_are_no_such_task(tmp_path: Path):
    with pytest.raises(ValueError, match="^denoising_steps, activation: not told"):
        imported(tmp_path, "mlp", CAN_PICTURES, 4, 0)
