"""The observation encoder: which pictures are seen, in which order, with what state."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dppo_rllib.networks import (
    Critic,
    CriticConfig,
    DiffusionMLP,
    DiffusionMLPConfig,
    ObservationEncoder,
    ObservationSpec,
    VisionConfig,
)


def spec(channels: int = 3, height: int = 16, width: int = 16, **vision: Any) -> ObservationSpec:
    values = {"embed_dim": 8, "num_heads": 2, "spatial_emb": 6} | vision
    return ObservationSpec(5, (channels, height, width), VisionConfig(**values))


def observation(spec: ObservationSpec, batch: int = 2, steps: int = 1) -> dict[str, Tensor]:
    shape = (batch, steps, *(spec.image_shape or ()))
    return {
        "state": torch.randn(batch, 1, 5),
        "rgb": torch.randint(0, 256, shape, dtype=torch.uint8),
    }


def encoder(spec: ObservationSpec, seed: int = 0) -> ObservationEncoder:
    torch.manual_seed(seed)
    return ObservationEncoder(spec)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("img_cond_steps", 0, "at least 1"),
        ("num_cameras", 0, "at least 1"),
        ("embed_dim", 0, "at least 1"),
        ("depth", 0, "at least 1"),
        ("num_heads", 0, "at least 1"),
        ("embed_dim", 9, "a multiple of num_heads=4"),
        ("embed_style", "embed3", "one of"),
        ("spatial_emb", -1, "0, or at least 2"),
        ("spatial_emb", 1, "0, or at least 2"),
        ("visual_feature_dim", 1, "at least 2"),
        ("dropout", 1.0, "within"),
        ("dropout", -0.1, "within"),
    ],
)
def test_values_out_of_range_are_refused(field, value, expected):
    with pytest.raises(ValueError, match=f"{field}={value!r}: expected {expected}"):
        VisionConfig(**{field: value})


def test_pictures_smaller_than_a_patch_are_refused_with_the_spec():
    with pytest.raises(ValueError, match="12 x 16 pixels: expected at least 16 x 16"):
        spec(height=12)
    assert spec(height=12, embed_style="embed1").image_shape == (3, 12, 16)


@pytest.mark.parametrize("channels", [0, 3])
def test_cameras_divide_the_channels(channels):
    with pytest.raises(
        ValueError, match=f"num_cameras=2: expected a divisor of the {channels} cha"
    ):
        spec(channels=channels, num_cameras=2)


@settings(max_examples=20)
@given(
    cameras=st.integers(1, 3),
    camera_channels=st.sampled_from([1, 3, 4]),
    steps=st.integers(1, 3),
    spatial_emb=st.sampled_from([0, 6]),
    width=st.sampled_from([16, 25]),
)
def test_features_are_those_of_each_camera_and_the_state(
    cameras, camera_channels, steps, spatial_emb, width
):
    seen = spec(
        cameras * camera_channels,
        width=width,
        num_cameras=cameras,
        img_cond_steps=steps,
        spatial_emb=spatial_emb,
        visual_feature_dim=7,
    )
    network, obs = encoder(seen), observation(seen, batch=3, steps=steps)
    features = network(obs)
    assert features.shape == (3, network.feature_dim)
    assert network.feature_dim == cameras * (spatial_emb or 7) + 5
    assert torch.equal(features[:, -5:], obs["state"].flatten(1))


def test_every_row_is_encoded_on_its_own():
    seen = spec(channels=6, num_cameras=2)
    network, obs = encoder(seen), observation(seen, batch=3)
    features = network(obs)
    for row in range(3):
        changed = {key: value.clone() for key, value in obs.items()}
        changed["state"][row] += 1
        changed["rgb"][row] = 255 - changed["rgb"][row]
        kept = [i for i in range(3) if i != row]
        assert torch.equal(network(changed)[kept], features[kept])
        assert not torch.allclose(network(changed)[row, :12], features[row, :12])


def test_only_the_newest_pictures_of_a_history_are_seen():
    seen = spec(img_cond_steps=2)
    network, obs = encoder(seen), observation(seen, steps=4)
    features = network(obs)
    for step, matters in enumerate([False, False, True, True]):
        rgb = obs["rgb"].clone()
        rgb[:, step] = 255 - rgb[:, step]
        assert torch.equal(network(obs | {"rgb": rgb}), features) is not matters


def test_vit_sees_the_steps_of_one_camera_stacked_oldest_first():
    seen = spec(channels=6, num_cameras=2, img_cond_steps=2)
    network, obs = encoder(seen), observation(seen, steps=3)
    shown = []
    network.backbone.register_forward_pre_hook(lambda _, args: shown.append(args[0]))
    network(obs)
    first, second = obs["rgb"][:, 1:].unflatten(2, (2, 3)).unbind(2)  # cameras, [B, 2, 3, H, W]
    assert torch.equal(shown[0], torch.cat([first.flatten(1, 2), second.flatten(1, 2)]))


def test_each_camera_has_a_compression_of_its_own():
    seen = spec(channels=6, num_cameras=2)
    network, obs = encoder(seen), observation(seen)
    swapped = torch.cat([obs["rgb"][:, :, 3:], obs["rgb"][:, :, :3]], dim=2)
    first, second = network(obs)[:, :12].split(6, dim=-1)
    first_swapped, second_swapped = network(obs | {"rgb": swapped})[:, :12].split(6, dim=-1)
    assert not torch.allclose(first_swapped, second)
    network.compress[1].load_state_dict(network.compress[0].state_dict())
    first, second = network(obs)[:, :12].split(6, dim=-1)
    first_swapped, second_swapped = network(obs | {"rgb": swapped})[:, :12].split(6, dim=-1)
    torch.testing.assert_close(first_swapped, second)
    torch.testing.assert_close(second_swapped, first)


@pytest.mark.parametrize(("spatial_emb", "looks"), [(6, True), (0, False)])
def test_only_the_spatial_embedding_looks_at_the_state(spatial_emb, looks):
    seen = spec(spatial_emb=spatial_emb)
    network, obs = encoder(seen), observation(seen)
    visual = network(obs)[:, :-5]
    other = network(obs | {"state": obs["state"] + 1})[:, :-5]
    assert torch.allclose(visual, other) is not looks


def test_spatial_embedding_gets_the_state_as_it_is():
    seen = spec()
    torch.manual_seed(0)
    with_mlp = ObservationEncoder(seen, nn.Linear(5, 4), 4)
    without = ObservationEncoder(seen)
    without.backbone, without.compress = with_mlp.backbone, with_mlp.compress
    obs = observation(seen)
    assert torch.equal(with_mlp(obs)[:, :6], without(obs)[:, :6])
    assert torch.equal(with_mlp(obs)[:, 6:], with_mlp.cond_mlp(obs["state"].flatten(1)))


def test_pictures_are_ignored_where_none_are_expected():
    network, obs = ObservationEncoder(ObservationSpec(5)), observation(spec())
    assert torch.equal(network(obs), obs["state"].flatten(1))


@pytest.mark.parametrize("shape", [(2, 1, 3, 16, 16), (2, 2, 3, 16, 17), (2, 2, 1, 16, 16)])
def test_other_pictures_than_those_of_the_spec_are_refused(shape):
    network = encoder(spec(img_cond_steps=2))
    obs = {"state": torch.zeros(2, 1, 5), "rgb": torch.zeros(shape, dtype=torch.uint8)}
    with pytest.raises(
        ValueError, match=r"expected \(batch, at least 2 = img_cond_steps, 3, 16, 16"
    ):
        network(obs)


@pytest.mark.parametrize("spatial_emb", [6, 0])
def test_gradient_reaches_every_parameter(spatial_emb):
    seen = spec(channels=6, num_cameras=2, spatial_emb=spatial_emb)
    network = encoder(seen)
    features = network(observation(seen, batch=8))
    (features * torch.randn_like(features)).sum().backward()
    assert all((p.grad != 0).any() for p in network.parameters())


def test_denoiser_and_critic_see_pictures():
    seen = spec()
    obs = observation(seen)
    denoiser = DiffusionMLP(
        DiffusionMLPConfig(mlp_dims=(8,), cond_mlp_dims=(4,)), seen, horizon_steps=4, action_dim=3
    )
    critic = Critic(CriticConfig(mlp_dims=(8,)), seen)
    other = obs | {"rgb": 255 - obs["rgb"]}
    assert denoiser.encode(obs).shape == (2, 6 + 4)
    assert not torch.allclose(denoiser.encode(obs), denoiser.encode(other))
    assert critic(obs).shape == (2,)
    assert not torch.allclose(critic(obs), critic(other))


def test_vision_of_the_authors_has_its_size():
    """96 x 96 pixels, 121 patches of 128 numbers: convolutions, ViT, spatial embedding."""
    network = ObservationEncoder(ObservationSpec(9, (3, 96, 96), VisionConfig()))
    d, patches = 128, 121
    convolutions = 3 * 64 * d + d + d * 9 * d + d
    layer = 2 * 2 * d + (3 * d * d + 3 * d) + (d * d + d) + (4 * d * d + 4 * d) + (4 * d * d + d)
    embedding = (patches + 9) * d + d + 2 * d + d * d
    count = sum(p.numel() for p in network.parameters())
    assert count == convolutions + patches * d + layer + 2 * d + embedding
