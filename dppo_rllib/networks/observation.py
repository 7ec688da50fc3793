"""From an observation history to features: what every network has in front."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn

from dppo_rllib.networks.vit import EMBED_STYLES, SpatialEmbedding, ViT, ViTEncoder, num_patches


@dataclass(frozen=True)
class VisionConfig:
    """How pictures become features; the defaults are the authors' for Robomimic.

    Attributes:
        img_cond_steps: Newest pictures of a history that are seen, stacked along their channels.
        num_cameras: Cameras whose channels lie one after the other in a picture. They share the
            ViT; each has its own compression.
        embed_dim: Width of a patch's token.
        depth: Transformer layers.
        num_heads: Attention heads.
        embed_style: "embed2", two convolutions, or "embed1", a single one of 8 x 8 pixels.
        embed_norm: Instance normalisation between the two convolutions of "embed2".
        spatial_emb: Width of the spatial embedding; 0 projects all tokens linearly instead.
        visual_feature_dim: Features of that projection, of each camera; unused with a spatial
            embedding.
        dropout: Of the compression, while cloning. Fine-tuning goes on with such a policy, but
            acts and learns without: importance ratios compare the same network.

    Raises:
        ValueError: A value is out of its range, or `num_heads` does not divide `embed_dim`.
    """

    img_cond_steps: int = 1
    num_cameras: int = 1
    embed_dim: int = 128
    depth: int = 1
    num_heads: int = 4
    embed_style: str = "embed2"
    embed_norm: bool = False
    spatial_emb: int = 128
    visual_feature_dim: int = 128
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("img_cond_steps", "num_cameras", "embed_dim", "depth", "num_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.embed_dim % self.num_heads:
            raise ValueError(
                f"embed_dim={self.embed_dim}: expected a multiple of num_heads={self.num_heads}"
            )
        if self.embed_style not in EMBED_STYLES:
            raise ValueError(
                f"embed_style={self.embed_style!r}: expected one of {list(EMBED_STYLES)}"
            )
        # A single feature would be constant after its LayerNorm.
        if self.spatial_emb < 0 or self.spatial_emb == 1:
            raise ValueError(f"spatial_emb={self.spatial_emb}: expected 0, or at least 2")
        if self.visual_feature_dim < 2:
            raise ValueError(f"visual_feature_dim={self.visual_feature_dim}: expected at least 2")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: expected within [0, 1)")

    @property
    def camera_features(self) -> int:
        """Features of one camera."""
        return self.spatial_emb or self.visual_feature_dim


@dataclass(frozen=True)
class ObservationSpec:
    """Shape of the observation histories that a network gets.

    Attributes:
        cond_dim: `To * Do`, length of the flattened state history.
        image_shape: `(C, H, W)` of the picture of one step, all cameras; None without pictures.
        vision: How they are encoded; None without pictures.

    Raises:
        ValueError: Only one of `image_shape` and `vision` is given, they do not fit, or the
            pictures are smaller than a patch.
    """

    cond_dim: int
    image_shape: tuple[int, int, int] | None = None
    vision: VisionConfig | None = None

    def __post_init__(self) -> None:
        if self.image_shape is not None and self.vision is None:
            raise ValueError(
                f"vision=None: observations have pictures of shape {self.image_shape}; set "
                "vision={} for the default encoder, or its fields"
            )
        if self.image_shape is None and self.vision is not None:
            raise ValueError(
                f"vision={self.vision}: observations have no pictures; set vision=None"
            )
        if self.image_shape is not None and self.vision is not None:
            channels, height, width = self.image_shape
            cameras = self.vision.num_cameras
            if channels < 1 or channels % cameras:
                raise ValueError(
                    f"num_cameras={cameras}: expected a divisor of the {channels} "
                    f"channels of image_shape={self.image_shape}"
                )
            num_patches(height, width, self.vision.embed_style)


def linear_compression(
    num_patches: int, embed_dim: int, features: int, dropout: float
) -> nn.Sequential:
    """Layers that project all tokens `[B, N, D]` of a picture to `[B, features]`."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["flatten"] = nn.Flatten()
    layers["0"] = nn.Linear(num_patches * embed_dim, features)
    layers["1"] = nn.LayerNorm(features)
    layers["2"] = nn.Dropout(dropout)
    layers["3"] = nn.ReLU()
    return nn.Sequential(layers)


class ObservationEncoder(nn.Module):
    """Features `[visual features, state]` of an observation history.

    Visual features are those of camera after camera, seen by one ViT. A spatial embedding gets the
    flattened state as it is, not through `cond_mlp`.

    Args:
        spec: What histories look like.
        cond_mlp: Layers in front of the flattened state; None feeds it as it is.
        cond_mlp_dim: Width of what `cond_mlp` gives.
    """

    def __init__(
        self, spec: ObservationSpec, cond_mlp: nn.Module | None = None, cond_mlp_dim: int = 0
    ):
        super().__init__()
        self.spec = spec
        self.cond_mlp = cond_mlp
        self.feature_dim = cond_mlp_dim if cond_mlp is not None else spec.cond_dim
        if spec.vision is not None and spec.image_shape is not None:
            self._build_vision(spec.vision, spec.image_shape)
            self.feature_dim += spec.vision.num_cameras * spec.vision.camera_features

    def _build_vision(self, vision: VisionConfig, image_shape: tuple[int, int, int]) -> None:
        channels, height, width = image_shape
        seen = vision.img_cond_steps * channels // vision.num_cameras
        self.backbone = ViTEncoder(
            ViT(
                (seen, height, width),
                embed_dim=vision.embed_dim,
                depth=vision.depth,
                num_heads=vision.num_heads,
                embed_style=vision.embed_style,
                embed_norm=vision.embed_norm,
            )
        )
        tokens = num_patches(height, width, vision.embed_style), vision.embed_dim
        self.compress = nn.ModuleList(
            SpatialEmbedding(*tokens, self.spec.cond_dim, vision.spatial_emb, vision.dropout)
            if vision.spatial_emb
            else linear_compression(*tokens, vision.visual_feature_dim, vision.dropout)
            for _ in range(vision.num_cameras)
        )

    def forward(self, obs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Encodes `{"state": [B, To, Do], "rgb": [B, Ti, C, H, W] uint8}`.

        Raises:
            ValueError: The pictures are not those of the spec, or fewer than `img_cond_steps`.
        """
        state = obs["state"].flatten(1)
        features = state if self.cond_mlp is None else self.cond_mlp(state)
        if self.spec.vision is None:
            return features
        return torch.cat([*self._see(self.spec.vision, obs["rgb"], state), features], dim=-1)

    def _see(
        self, vision: VisionConfig, rgb: Num[Tensor, "B Ti C H W"], state: Float[Tensor, "B S"]
    ) -> list[Tensor]:
        """Visual features `[B, P]` of each camera."""
        steps, cameras = vision.img_cond_steps, vision.num_cameras
        image_shape = tuple(self.spec.image_shape or ())
        if rgb.shape[1] < steps or tuple(rgb.shape[2:]) != image_shape:
            raise ValueError(
                f"rgb of shape {tuple(rgb.shape)}: expected (batch, at least {steps} = "
                f"img_cond_steps, {', '.join(map(str, image_shape))})"
            )
        # [B, steps, cameras · C', H, W] to [cameras · B, steps · C', H, W]: one pass of the ViT.
        per_camera = rgb[:, -steps:].unflatten(2, (cameras, -1)).movedim(2, 0)
        tokens = self.backbone(per_camera.flatten(2, 3).flatten(0, 1)).unflatten(0, (cameras, -1))
        return [
            compress(tokens[i], state) if vision.spatial_emb else compress(tokens[i])
            for i, compress in enumerate(self.compress)
        ]
