"""The vision transformer and the spatial embedding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dppo_rllib.networks import SpatialEmbedding, ViT, ViTEncoder
from dppo_rllib.networks.vit import num_patches


def vit(image_shape: tuple[int, int, int] = (3, 24, 24), seed: int = 0, **values: Any) -> ViT:
    torch.manual_seed(seed)
    defaults = {"embed_dim": 8, "depth": 1, "num_heads": 2, "embed_style": "embed2"}
    return ViT(image_shape, **(defaults | {"embed_norm": False} | values))


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(
    ("style", "height", "width", "patches"),
    [("embed2", 96, 96, 121), ("embed1", 96, 96, 144), ("embed2", 48, 96, 55), ("embed1", 9, 8, 1)],
)
def test_number_of_patches_follows_from_the_convolutions(style, height, width, patches):
    assert num_patches(height, width, style) == patches


@settings(max_examples=25)
@given(
    channels=st.integers(1, 4),
    height=st.integers(16, 40),
    width=st.integers(16, 40),
    style=st.sampled_from(["embed1", "embed2"]),
)
def test_any_picture_gives_one_token_per_patch(channels, height, width, style):
    network = vit((channels, height, width), embed_style=style)
    tokens = ViTEncoder(network)(pictures(2, channels, height, width))
    assert tokens.shape == (2, num_patches(height, width, style), 8)


@pytest.mark.parametrize(("style", "smallest"), [("embed1", 8), ("embed2", 16)])
def test_picture_smaller_than_a_patch_is_refused(style, smallest):
    assert num_patches(smallest, smallest, style) == 1
    with pytest.raises(
        ValueError, match=f"{smallest} x {smallest - 1} pixels: expected at least {smallest} x"
    ):
        vit((3, smallest, smallest - 1), embed_style=style)


def test_unknown_embedding_is_refused():
    with pytest.raises(ValueError, match=r"embed_style='embed3': expected one of \['embed1'"):
        vit(embed_style="embed3")


@pytest.mark.parametrize("num_heads", [0, 3])
def test_heads_that_do_not_divide_the_width_are_refused(num_heads):
    with pytest.raises(
        ValueError, match=f"embed_dim=8: expected a multiple of num_heads={num_heads}"
    ):
        vit(num_heads=num_heads)


def test_linear_layers_and_positions_start_as_small_normals():
    network = vit(embed_dim=64, num_heads=4, depth=2)
    linear = [module for module in network.modules() if isinstance(module, nn.Linear)]
    assert len(linear) == 8
    for layer in linear:
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
        assert (layer.bias == 0).all()
    assert network.pos_embed.std().item() == pytest.approx(0.02, rel=0.2)


def test_bytes_and_numbers_are_seen_alike():
    encoder, images = ViTEncoder(vit()), pictures(2, 3, 24, 24)
    assert torch.equal(encoder(images), encoder(images.float()))


def test_tokens_know_where_they_are():
    """A picture of one colour gives the same patches: only positions tell the tokens apart."""
    network = vit((1, 24, 24))
    image = torch.zeros(1, 1, 24, 24)
    tokens = network(image)[0]
    assert not torch.allclose(tokens[0], tokens[1])
    nn.init.zeros_(network.pos_embed)
    tokens = network(image)[0]
    torch.testing.assert_close(tokens[0], tokens[1])


def test_tokens_attend_to_each_other():
    network = vit(embed_style="embed1", depth=1)
    image = torch.rand(1, 3, 24, 24, requires_grad=True)
    network(image)[0, 0].pow(2).sum().backward()
    assert (image.grad[..., 8:, 8:] != 0).any(), "the first token looks beyond its own patch"


@pytest.mark.parametrize("style", ["embed1", "embed2"])
def test_gradient_reaches_every_parameter(style):
    network = vit(depth=2, embed_style=style, embed_norm=True)
    tokens = network(torch.rand(2, 3, 24, 24) - 0.5)
    (tokens * torch.randn_like(tokens)).sum().backward()
    assert all((p.grad != 0).any() for p in network.parameters())


def test_spatial_embedding_is_its_layers_on_map_and_state():
    torch.manual_seed(0)
    embedding = SpatialEmbedding(num_patches=4, embed_dim=6, cond_dim=3, spatial_emb=5, dropout=0)
    tokens, state = torch.randn(2, 4, 6), torch.randn(2, 3)
    expected = torch.zeros(2, 5)
    for channel in range(6):
        seen = torch.cat([tokens[:, :, channel], state], dim=-1)
        expected += embedding.weight[0, channel] * embedding.input_proj(seen)
    torch.testing.assert_close(embedding(tokens, state), expected)


def test_dropout_is_for_training():
    embedding = SpatialEmbedding(
        num_patches=4, embed_dim=6, cond_dim=3, spatial_emb=64, dropout=0.5
    )
    tokens, state = torch.randn(2, 4, 6), torch.randn(2, 3)
    assert (embedding(tokens, state) == 0).any()
    embedding.eval()
    assert torch.equal(embedding(tokens, state), embedding(tokens, state))
