"""U-Nets and networks that see pictures against the authors' code, with their weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_tensors import (
    assert_close,
    golden,
    golden_keys,
    unet1d,
    vision_critic,
    vision_mlp,
    vision_spec,
    weights,
)
from torch import Tensor, nn

from dppo_rllib.checkpoints.official_file import native_keys
from dppo_rllib.networks import ViT, ViTEncoder

UNETS: dict[str, dict[str, Any]] = {
    "unet_gn_scale": {"dim": 16},
    "unet_3lv_eps": {"dim_mults": (1, 2, 4), "groupnorm_eps": 1e-4},
    "unet_smallenc": {"n_groups": 2, "smaller_encoder": True, "cond_predict_scale": False},
    "unet_condmlp_relu": {
        "kernel_size": 3,
        "n_groups": None,
        "cond_mlp_dims": (16, 16),
        "activation": "ReLU",
        "smaller_encoder": True,
        "cond_predict_scale": False,
    },
    "visionunet": {"spec": vision_spec()},
}
VITS: dict[str, dict[str, Any]] = {
    "vit_embed1_n0": {"embed_style": "embed1", "embed_norm": False},
    "vit_embed2_n0": {"embed_style": "embed2", "embed_norm": False},
    "vit_embed2_n1": {"embed_style": "embed2", "embed_norm": True},
}
VISION_MLPS: dict[str, dict[str, Any]] = {
    "visionmlp_sp": {},
    "visionmlp_nosp": {"spatial_emb": 0, "visual_feature_dim": 12},
    "visionmlp_2img": {"num_cameras": 2},
}


def network(name: str) -> nn.Module:
    """The network that the golden weights `net_{name}` belong to."""
    state = weights(f"net_{name}")
    if name in UNETS:
        return unet1d(state, **UNETS[name])
    if name in VISION_MLPS:
        return vision_mlp(state, vision_spec(**VISION_MLPS[name]))
    if name == "vitcritic":
        return vision_critic(state)
    encoder = ViTEncoder(ViT((3, 48, 48), embed_dim=16, depth=1, num_heads=2, **VITS[name]))
    encoder.load_state_dict(state, strict=True)
    return encoder


def observations(name: str) -> dict[str, Tensor]:
    obs = {"state": golden(f"net/{name}/in_obs")}
    if golden_keys(f"net/{name}/in_rgb"):
        obs["rgb"] = golden(f"net/{name}/in_rgb")
    return obs


def test_every_golden_unet_and_vision_network_is_compared():
    prefixes = ("unet_", "vit_", "visionmlp_", "visionunet", "vitcritic")
    found = {key.split("/")[1] for prefix in prefixes for key in golden_keys(f"net/{prefix}")}
    assert found == UNETS.keys() | VITS.keys() | VISION_MLPS.keys() | {"vitcritic"}


@pytest.mark.parametrize("name", [*UNETS, *VISION_MLPS])
def test_denoiser_output_is_the_authors(name):
    denoiser = network(name)
    x, timesteps = golden(f"net/{name}/in_x"), golden(f"net/{name}/in_t")
    output = denoiser(x, denoiser.embed_time(timesteps), denoiser.encode(observations(name)))
    assert_close(output, golden(f"net/{name}/out0"))


@pytest.mark.parametrize("name", VITS)
def test_tokens_are_the_authors(name):
    assert_close(network(name)(golden(f"net/{name}/in_img")), golden(f"net/{name}/out0"))


def test_values_of_pictures_are_the_authors():
    values = network("vitcritic")(observations("vitcritic"))
    assert_close(values, golden("net/vitcritic/out0").squeeze(-1))


@pytest.mark.parametrize("name", [*UNETS, *VISION_MLPS, *VITS, "vitcritic"])
def test_network_has_the_authors_parameters(name):
    official = native_keys(weights(f"net_{name}")) if name not in VITS else weights(f"net_{name}")
    shapes = {key: value.shape for key, value in network(name).named_parameters()}
    assert shapes == {key: value.shape for key, value in official.items()}


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(RuntimeError, match="Missing key"):
        unet1d(weights("net_unet_smallenc"), n_groups=2)
    with pytest.raises(RuntimeError, match="Unexpected key"):
        unet1d(weights("net_visionunet"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        unet1d(weights("net_unet_gn_scale"))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*encoder\.compress\.1"):
        vision_mlp(weights("net_visionmlp_2img"), vision_spec())


def test_each_camera_has_the_compression_of_its_number():
    official = weights("net_visionmlp_2img")
    state = vision_mlp(official, vision_spec(num_cameras=2)).state_dict()
    for camera in (0, 1):
        ours = state[f"encoder.compress.{camera}.weight"]
        assert torch.equal(ours, official[f"compress{camera + 1}.weight"])
