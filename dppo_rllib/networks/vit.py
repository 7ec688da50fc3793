"""A small vision transformer, and the embedding that compresses its tokens.

The architecture is that of IBRL (arXiv 2311.02198), as the DPPO authors use it. Attribute names are
theirs, so that their state dicts load without renaming.
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn import functional as F

# Kernel size and stride of the convolutions that make patches.
_CONVOLUTIONS = {"embed1": ((8, 8),), "embed2": ((8, 4), (3, 2))}
EMBED_STYLES = tuple(_CONVOLUTIONS)


def num_patches(height: int, width: int, embed_style: str) -> int:
    """Tokens that a picture of `height x width` pixels becomes.

    Raises:
        ValueError: The picture is smaller than one patch, or the style is unknown.
    """
    if embed_style not in _CONVOLUTIONS:
        raise ValueError(f"embed_style={embed_style!r}: expected one of {list(EMBED_STYLES)}")
    rows, columns, smallest = height, width, 1
    for kernel, stride in _CONVOLUTIONS[embed_style]:
        rows, columns = (rows - kernel) // stride + 1, (columns - kernel) // stride + 1
    if rows < 1 or columns < 1:
        for kernel, stride in reversed(_CONVOLUTIONS[embed_style]):
            smallest = (smallest - 1) * stride + kernel
        raise ValueError(
            f"picture of {height} x {width} pixels: expected at least {smallest} x {smallest} "
            f"for embed_style={embed_style!r}"
        )
    return rows * columns


class OneConvolution(nn.Module):
    """Patches of 8 x 8 pixels side by side ("embed1")."""

    def __init__(self, channels: int, embed_dim: int):
        super().__init__()
        ((kernel, stride),) = _CONVOLUTIONS["embed1"]
        self.conv = nn.Conv2d(channels, embed_dim, kernel, stride)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """Patch tokens, row by row."""
        return self.conv(images).flatten(2).transpose(1, 2)


class TwoConvolutions(nn.Module):
    """Overlapping patches of 16 x 16 pixels, 8 apart ("embed2")."""

    def __init__(self, channels: int, embed_dim: int, embed_norm: bool):
        super().__init__()
        (kernel1, stride1), (kernel2, stride2) = _CONVOLUTIONS["embed2"]
        self.embed = nn.Sequential(
            nn.Conv2d(channels, embed_dim, kernel1, stride1),
            nn.GroupNorm(embed_dim, embed_dim) if embed_norm else nn.Identity(),
            nn.ReLU(),
            nn.Conv2d(embed_dim, embed_dim, kernel2, stride2),
        )

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """Patch tokens, row by row."""
        return self.embed(images).flatten(2).transpose(1, 2)


class MultiHeadAttention(nn.Module):
    """Self-attention with one projection for queries, keys and values.

    Raises:
        ValueError: `embed_dim` is not divisible by `num_heads`.
    """

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        if num_heads < 1 or embed_dim % num_heads:
            raise ValueError(f"embed_dim={embed_dim}: expected a multiple of num_heads={num_heads}")
        self.num_heads = num_heads
        self.qkv_proj = nn.Linear(embed_dim, 3 * embed_dim)
        self.out_proj = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Every token attends to all."""
        qkv = self.qkv_proj(tokens).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = qkv.transpose(1, 3).unbind(2)  # each [B, heads, N, D / heads]
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class TransformerLayer(nn.Module):
    """Pre-LN transformer layer with a GELU network of four times the width."""

    def __init__(self, embed_dim: int, num_heads: int):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(embed_dim)
        self.mha = MultiHeadAttention(embed_dim, num_heads)
        self.layer_norm2 = nn.LayerNorm(embed_dim)
        self.linear1 = nn.Linear(embed_dim, 4 * embed_dim)
        self.linear2 = nn.Linear(4 * embed_dim, embed_dim)

    def forward(self, tokens: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Attention, then the network, each added to its input."""
        tokens = tokens + self.mha(self.layer_norm1(tokens))
        return tokens + self.linear2(F.gelu(self.linear1(self.layer_norm2(tokens))))


class ViT(nn.Module):
    """Patch embedding, learned positions, transformer layers, LayerNorm.

    Args:
        image_shape: `(C, H, W)` of a picture.
        embed_dim: Width of a token.
        depth: Transformer layers.
        num_heads: Attention heads.
        embed_style: "embed1" or "embed2".
        embed_norm: Instance normalisation between the two convolutions of "embed2".

    Raises:
        ValueError: The picture is smaller than a patch, or heads do not divide the width.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        embed_dim: int,
        depth: int,
        num_heads: int,
        embed_style: str,
        embed_norm: bool,
    ):
        super().__init__()
        channels, height, width = image_shape
        patches = num_patches(height, width, embed_style)
        self.patch_embed: nn.Module = (
            OneConvolution(channels, embed_dim)
            if embed_style == "embed1"
            else TwoConvolutions(channels, embed_dim, embed_norm)
        )
        self.pos_embed = nn.Parameter(torch.empty(1, patches, embed_dim))
        self.net = nn.Sequential(*(TransformerLayer(embed_dim, num_heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(embed_dim)
        self._initialise()

    def _initialise(self) -> None:
        """Small truncated normals for positions and linear layers, as in timm's ViT."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """Tokens of pictures whose values are within [-0.5, 0.5]."""
        return self.norm(self.net(self.patch_embed(images) + self.pos_embed))


class ViTEncoder(nn.Module):
    """A ViT that takes pixels of 0 to 255.

    Args:
        vit: What sees them as numbers within [-0.5, 0.5].
    """

    def __init__(self, vit: ViT):
        super().__init__()
        self.vit = vit

    def forward(self, images: Num[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
        """Tokens of pictures; bytes become numbers here, on the device of the network."""
        return self.vit(images.to(self.vit.pos_embed.dtype) / 255 - 0.5)


class SpatialEmbedding(nn.Module):
    """Compresses tokens to one vector, looking at the state (IBRL).

    Each of the `D` channels of the tokens is a map over the `N` patches. Map and state give `P`
    numbers, of which a learned weighted sum over the channels is taken.

    Args:
        num_patches: `N`.
        embed_dim: `D`.
        cond_dim: Length `S` of the flattened state history.
        spatial_emb: `P`.
        dropout: Of the result, while training.
    """

    def __init__(
        self, num_patches: int, embed_dim: int, cond_dim: int, spatial_emb: int, dropout: float
    ):
        super().__init__()
        self.num_patches = num_patches
        self.input_proj = nn.Sequential(
            nn.Linear(num_patches + cond_dim, spatial_emb), nn.LayerNorm(spatial_emb), nn.ReLU()
        )
        self.weight = nn.Parameter(torch.randn(1, embed_dim, spatial_emb))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: Float[Tensor, "B N D"], state: Float[Tensor, "B S"]
    ) -> Float[Tensor, "B P"]:
        """One vector per picture."""
        linear, norm, act = self.input_proj
        linear = cast(nn.Linear, linear)
        of_map, of_state = linear.weight.split([self.num_patches, state.shape[-1]], dim=1)
        # The first layer on [map, state], without repeating the state for every channel.
        hidden = F.linear(tokens.transpose(1, 2), of_map)
        hidden = hidden + F.linear(state, of_state, linear.bias)[:, None]
        return self.dropout((self.weight * act(norm(hidden))).sum(1))
