"""U-Nets and networks that see pictures: read off weights, and exactly the authors'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_tensors import assert_close, golden, golden_keys, weights
from official_files import (
    StateDict,
    normalization,
    official_state,
    write_fine_tuned,
    write_pretrained,
)
from torch import Tensor

from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy, save_policy
from dppo_rllib.checkpoints.official import import_official
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.networks import (
    Critic,
    CriticConfig,
    DiffusionMLP,
    DiffusionMLPConfig,
    ObservationSpec,
    UNet1D,
    UNet1DConfig,
    VisionConfig,
)

UNET: dict[str, Any] = {
    "action_dim": 3,
    "denoising_steps": 20,
    "horizon_steps": 4,
    "act_steps": 2,
    "network": {"n_groups": 4, "groupnorm_eps": 1e-5},
}
PICTURES: dict[str, Any] = {"image_size": (48, 48), "vision": {"num_heads": 2}}
MLP: dict[str, Any] = {"action_dim": 3, "denoising_steps": 20, "activation": "Mish"} | PICTURES
SMALL = {"diffusion_step_embed_dim": 8, "dim": 8, "n_groups": 4}
SEEN = {"embed_dim": 16, "num_heads": 2, "spatial_emb": 8}

# Golden weights `net_<name>`: the arguments they need, and the architecture that they are of.
UNETS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "unet_gn_scale": ({}, {"dim": 16}),
    "unet_3lv_eps": (
        {"network": {"n_groups": 4, "groupnorm_eps": 1e-4}},
        {"dim_mults": (1, 2, 4), "groupnorm_eps": 1e-4},
    ),
    "unet_smallenc": (
        {"network": {"n_groups": 2, "groupnorm_eps": 1e-5}},
        {"n_groups": 2, "smaller_encoder": True, "cond_predict_scale": False},
    ),
    "unet_condmlp_relu": (
        {"network": {}, "activation": "ReLU"},
        {
            "kernel_size": 3,
            "n_groups": None,
            "cond_mlp_dims": (16, 16),
            "activation": "ReLU",
            "cond_predict_scale": False,
        },
    ),
    "visionunet": (PICTURES, {}),
}
VISIONS: dict[str, dict[str, Any]] = {
    "visionmlp_sp": {},
    "visionmlp_nosp": {"spatial_emb": 0, "visual_feature_dim": 12},
    "visionmlp_2img": {"num_cameras": 2},
}
EVERY = [*UNETS, *VISIONS]


def arguments(name: str) -> dict[str, Any]:
    return UNET | UNETS[name][0] if name in UNETS else MLP


def observations(name: str) -> dict[str, Tensor]:
    obs = {"state": golden(f"net/{name}/in_obs")}
    if golden_keys(f"net/{name}/in_rgb"):
        obs["rgb"] = golden(f"net/{name}/in_rgb")
    return obs


def outputs(network: Any, name: str) -> Tensor:
    x, timesteps = golden(f"net/{name}/in_x"), golden(f"net/{name}/in_t")
    return network(x, network.embed_time(timesteps), network.encode(observations(name)))


def pretrained(tmp_path: Path, name: str, **changes: Any) -> PolicyCheckpoint:
    path = write_pretrained(tmp_path, weights(f"net_{name}"))
    return import_official(path, **(arguments(name) | changes))


@pytest.mark.parametrize("name", EVERY)
def test_pretrained_denoiser_is_the_authors(tmp_path: Path, name: str):
    policy = pretrained(tmp_path, name).build()
    assert_close(outputs(policy.acting, name), golden(f"net/{name}/out0"))


@pytest.mark.parametrize("name", [*UNETS, "visionmlp_sp"])  # of what golden critics see
def test_fine_tuned_denoiser_and_critic_are_the_authors(tmp_path: Path, name: str):
    state = weights(f"net_{name}")
    critic_name = "vitcritic" if name.startswith("vision") else "critic_res"
    path = write_fine_tuned(
        tmp_path, network=state, actor=state, actor_ft=state, critic=weights(f"net_{critic_name}")
    )
    imported = import_official(path, **arguments(name), ft_denoising_steps=10)
    loaded = load_policy(save_policy(imported, tmp_path / "policy"))
    assert loaded.config == imported.config
    assert loaded.provenance == imported.provenance
    for network in (loaded.build().actor, loaded.build().actor_ft):
        assert_close(outputs(network, name), golden(f"net/{name}/out0"))
    architecture = build_dataclass(CriticConfig, loaded.critic or {})
    critic = Critic(architecture, loaded.config.observation_spec)
    critic.load_state_dict(loaded.component("critic"))
    values = critic(observations(critic_name))
    assert_close(values, golden(f"net/{critic_name}/out0").squeeze(-1))


@pytest.mark.parametrize("name", UNETS)
def test_unet_is_read_off_its_weights(tmp_path: Path, name: str):
    config = pretrained(tmp_path, name).config
    assert config.network == UNet1DConfig(**(SMALL | UNETS[name][1]))
    assert (config.obs_dim, config.action_dim) == (5, 3)
    assert (config.horizon_steps, config.act_steps) == (4, 2)


@pytest.mark.parametrize("name", VISIONS)
def test_vision_is_read_off_its_weights(tmp_path: Path, name: str):
    policy = pretrained(tmp_path, name)
    cameras = VISIONS[name].get("num_cameras", 1)
    assert policy.config.vision == VisionConfig(**(SEEN | VISIONS[name]))
    assert policy.config.image_shape == (3 * cameras, 48, 48)
    assert policy.config.network == DiffusionMLPConfig((32, 32, 32), 8, "Mish")
    assert policy.provenance["assumed"] == {"vision.img_cond_steps": 1}


@pytest.mark.parametrize(
    "network",
    [
        UNet1DConfig(8, 12, (1,), 3, n_groups=None),
        UNet1DConfig(16, 16, (1, 3), 7, n_groups=2, cond_predict_scale=False),
        UNet1DConfig(8, 8, (1, 2, 4, 8), n_groups=8, smaller_encoder=True, activation="ELU"),
        UNet1DConfig(8, 8, n_groups=4, cond_mlp_dims=(16, 16, 16, 6)),
    ],
)
@pytest.mark.parametrize("pictures", [False, True])
def test_any_unet_is_read_off_its_weights(tmp_path: Path, network: UNet1DConfig, pictures: bool):
    vision = VisionConfig(**SEEN, embed_style="embed1", depth=3) if pictures else None
    spec = ObservationSpec(10, (3, 40, 56) if pictures else None, vision)
    unet = UNet1D(network, spec, horizon_steps=8, action_dim=3)
    overrides = {} if network.n_groups is None else {"n_groups": network.n_groups}
    config = import_official(
        write_pretrained(tmp_path, official_state(unet)),
        normalization=normalization(5, 3),
        cond_steps=2,
        horizon_steps=8,
        act_steps=8,
        denoising_steps=20,
        activation=network.activation,
        network={"groupnorm_eps": 1e-5} | overrides,
        image_size=(40, 56) if pictures else None,
        vision={"num_heads": 2} if pictures else None,
    ).config
    assert config.network == network
    assert (config.image_shape, config.vision) == (spec.image_shape, vision)


@pytest.mark.parametrize("cameras", [1, 2])
@pytest.mark.parametrize("embed_norm", [False, True])
def test_history_of_pictures_is_read_off_the_channels(
    tmp_path: Path, cameras: int, embed_norm: bool
):
    vision = VisionConfig(**SEEN, img_cond_steps=2, num_cameras=cameras, embed_norm=embed_norm)
    spec = ObservationSpec(5, (3 * cameras, 48, 48), vision)
    network = DiffusionMLPConfig((32,), 8)
    denoiser = DiffusionMLP(network, spec, horizon_steps=4, action_dim=3)
    path = write_pretrained(tmp_path, official_state(denoiser))
    config = import_official(path, **(MLP | {"activation": "ReLU"})).config
    assert (config.vision, config.image_shape) == (vision, spec.image_shape)
    as_one = {"vision": {"num_heads": 2, "img_cond_steps": 1}}
    config = import_official(path, **(MLP | as_one)).config
    assert config.image_shape == (6 * cameras, 48, 48)
    with pytest.raises(ValueError, match="img_cond_steps=4: expected a divisor of the 6 channels"):
        import_official(path, **(MLP | {"vision": {"num_heads": 2, "img_cond_steps": 4}}))


def test_all_that_weights_do_not_tell_is_asked_for_at_once(tmp_path: Path):
    path = write_pretrained(tmp_path, weights("net_visionunet"))
    with pytest.raises(
        ValueError,
        match=r"^denoising_steps, network.n_groups, network.groupnorm_eps, horizon_steps, "
        r"act_steps, vision.num_heads, image_size: not told by the weights of .*state_1.pt "
        r"\(diffusion unet, obs_dim=5, action_dim=3\).* pass denoising_steps=..., network=\{"
        r"'n_groups': ..., 'groupnorm_eps': ...\}, horizon_steps=..., act_steps=..., vision=\{"
        r"'num_heads': ...\}, image_size=... as in its training",
    ):
        import_official(path)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("unet_gn_scale", {"action_dim": 5}, "action_dim=5: actions in .* have 3 numbers"),
        ("unet_gn_scale", {"horizon_steps": 5}, "horizon_steps=5: expected a multiple of 2"),
        ("unet_gn_scale", {"act_steps": 5}, "act_steps=5: .* horizon_steps=4"),
        ("unet_gn_scale", PICTURES, r"image_size=\(48, 48\): the network in .* sees no pictures"),
        ("unet_gn_scale", {"vision": {"depth": 1}}, "vision.depth=1: .* sees no pictures"),
        ("unet_condmlp_relu", {"network": {"n_groups": 4}}, "network.n_groups=4: .* are of None"),
        ("visionmlp_sp", {"horizon_steps": 8}, "horizon_steps=8: chunks in .* have 4 actions"),
        ("visionmlp_sp", {"image_size": (96, 96)}, r"image_size=\(96, 96\): .* 121 patches"),
        ("visionmlp_sp", {"image_size": (96, 96)}, "have 25, as square ones of 48 to 55 pixels"),
        ("visionmlp_sp", {"vision": {"depth": 2}}, "vision.depth=2: weights in .* are of 1"),
        ("visionmlp_sp", {"vision": {"num_heads": 3}}, "embed_dim=16: .* num_heads=3"),
        ("visionmlp_sp", {"vision": {"num_head": 2}}, "vision.num_head: unknown field"),
        ("visionmlp_sp", {"network": {"mlp_dims": [8]}}, r"network.mlp_dims=\(8,\): .* are of"),
        ("visionmlp_sp", {"network": {"activation": "ReLU"}}, r"network: holds \['activation'\]"),
        ("visionmlp_sp", {"network": {"n_groups": 8}}, "network.n_groups: unknown field"),
        ("visionmlp_sp", {"randn_clip_value": 3.0}, "a diffusion policy, .* in denoising"),
    ],
)
def test_argument_that_contradicts_the_weights_is_an_error(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        pretrained(tmp_path, name, **changes)


def test_argument_that_agrees_with_the_weights_changes_nothing(tmp_path: Path):
    # Lists are what JSON has for tuples.
    repeated = {"network": {"mlp_dims": [32, 32, 32]}, "vision": {"num_heads": 2, "depth": 1}}
    config = pretrained(tmp_path, "visionmlp_sp").config
    assert pretrained(tmp_path, "visionmlp_sp", **repeated).config == config


def without(state: StateDict, key: str) -> StateDict:
    assert key in state
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("unet_gn_scale", "time_mlp.1.weight"),
        ("unet_gn_scale", "down_modules.0.0.blocks.0.block.0.weight"),
        ("unet_gn_scale", "down_modules.1.1.cond_encoder.2.bias"),
        ("unet_gn_scale", "final_conv.1.weight"),
        ("unet_condmlp_relu", "cond_mlp.layers.1.weight"),
        ("visionunet", "compress.weight"),
        ("visionunet", "backbone.vit.pos_embed"),
        ("visionmlp_2img", "compress2.input_proj.0.weight"),
        ("visionmlp_2img", "backbone.vit.net.0.mha.qkv_proj.weight"),
        ("visionmlp_nosp", "compress.0.weight"),
    ],
)
def test_missing_weight_is_called_what_the_file_calls_it(tmp_path: Path, name: str, key: str):
    path = write_pretrained(tmp_path, without(weights(f"net_{name}"), key))
    with pytest.raises(ValueError, match=rf"missing keys? .*network\.{key}"):
        import_official(path, **arguments(name))


@pytest.mark.parametrize("key", ["mid_modules.2.x", "compress2.weight", "backbone.stray"])
def test_unknown_weight_is_called_what_the_file_calls_it(tmp_path: Path, key: str):
    state = weights("net_visionmlp_2img") | {key: torch.zeros(1)}
    if key in weights("net_visionmlp_2img"):
        message = r"network.compress2.weight is \(1,\)"
    else:
        message = rf"unknown keys \['network\.{key}'\]"
    with pytest.raises(ValueError, match=message):
        import_official(write_pretrained(tmp_path, state), **MLP)


def test_critic_must_see_what_the_actor_sees(tmp_path: Path):
    state = weights("net_visionmlp_sp")
    critic = weights("net_critic_res")
    path = write_fine_tuned(tmp_path, network=state, actor=state, actor_ft=state, critic=critic)
    with pytest.raises(ValueError, match=r"missing keys \['critic.backbone"):
        import_official(path, **MLP, ft_denoising_steps=10)
