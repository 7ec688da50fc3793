"""From an observation history to features: what every network has in front."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn


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
        visual_feature_dim: Features of that projection; unused with a spatial embedding.
        dropout: Of the compression, while training.
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


@dataclass(frozen=True)
class ObservationSpec:
    """Shape of the observation histories that a network gets.

    Attributes:
        cond_dim: `To * Do`, length of the flattened state history.
        image_shape: `(C, H, W)` of the picture of one step, all cameras; None without pictures.
        vision: How they are encoded; None without pictures.

    Raises:
        ValueError: Only one of `image_shape` and `vision` is given, or they do not fit.
    """

    cond_dim: int
    image_shape: tuple[int, int, int] | None = None
    vision: VisionConfig | None = None

    def __post_init__(self) -> None:
        if (self.image_shape is None) != (self.vision is None):
            raise ValueError(
                f"image_shape={self.image_shape}, vision={self.vision}: expected both or neither"
            )
        if self.image_shape is not None and self.vision is not None:
            cameras = self.vision.num_cameras
            if self.image_shape[0] % cameras:
                raise ValueError(
                    f"num_cameras={cameras}: expected a divisor of the {self.image_shape[0]} "
                    f"channels of image_shape={self.image_shape}"
                )


class ObservationEncoder(nn.Module):
    """Features `[visual features, state]` of an observation history.

    Args:
        spec: What histories look like.
        cond_mlp: Layers in front of the flattened state; None feeds it as it is.
        cond_mlp_dim: Width of what `cond_mlp` gives.
    """

    def __init__(
        self, spec: ObservationSpec, cond_mlp: nn.Module | None = None, cond_mlp_dim: int = 0
    ):
        super().__init__()
        self.cond_mlp = cond_mlp
        self.feature_dim = cond_mlp_dim if cond_mlp is not None else spec.cond_dim

    def forward(self, obs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Encodes `{"state": [B, To, Do], "rgb": [B, Ti, C, H, W] uint8}`."""
        state = obs["state"].flatten(1)
        return state if self.cond_mlp is None else self.cond_mlp(state)
