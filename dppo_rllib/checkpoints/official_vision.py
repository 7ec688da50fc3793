"""How pictures are encoded, read off the weights of a network that sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

from dppo_rllib.checkpoints.official_architecture import Weights
from dppo_rllib.networks.vit import num_patches

_VIT = "encoder.backbone.vit"
_COLOURS = 3  # channels of a picture in all of the authors' data
_SIDES = {"embed1": range(8, 4096), "embed2": range(16, 4096)}  # from one patch on


class VisionShape(NamedTuple):
    """What weights tell of a network's pictures.

    Attributes:
        told: Fields of `VisionConfig` that follow from the weights.
        channels: Of what the ViT sees, a history of pictures of one camera.
        patches: Tokens of a picture.
        features: Numbers that all cameras give.
    """

    told: dict[str, Any]
    channels: int
    patches: int
    features: int


def read_vision(weights: Weights) -> VisionShape | None:
    """The pictures' encoder, None where a network sees none.

    Raises:
        ValueError: A key that tells it is missing, or has an unexpected shape.
    """
    if not weights.has("encoder.backbone.") and not weights.has("encoder.compress."):
        return None
    _, patches, embed_dim = weights.shape(f"{_VIT}.pos_embed", axes=3)
    one_convolution = weights.has(f"{_VIT}.patch_embed.conv.")
    first = "conv" if one_convolution else "embed.0"
    channels = weights.shape(f"{_VIT}.patch_embed.{first}.weight", axes=4)[1]
    cameras = max(weights.count("encoder.compress"), 1)
    told: dict[str, Any] = {
        "num_cameras": cameras,
        "embed_dim": embed_dim,
        "depth": weights.count(f"{_VIT}.net"),
        "embed_style": "embed1" if one_convolution else "embed2",
    }
    if not one_convolution:
        told["embed_norm"] = weights.has(f"{_VIT}.patch_embed.embed.1.")
    if weights.has("encoder.compress.0.input_proj."):
        features = weights.shape("encoder.compress.0.weight", axes=3)[2]
        told["spatial_emb"] = features
    else:
        features = weights.shape("encoder.compress.0.0.weight")[0]
        told |= {"spatial_emb": 0, "visual_feature_dim": features}
    return VisionShape(told, channels, patches, cameras * features)


def steps_of_pictures(shape: VisionShape, given: int | None, weights: Weights) -> int:
    """`img_cond_steps`: as given, else as many as there are colour pictures in the channels.

    Raises:
        ValueError: The channels cannot be pictures of that number of steps.
    """
    if given is None and shape.channels % _COLOURS:
        raise ValueError(
            f"vision.img_cond_steps: {weights.path} tells only that pictures and steps make "
            f"{shape.channels} channels, expected a multiple of {_COLOURS} colours; pass "
            'vision={"img_cond_steps": ...}'
        )
    steps = shape.channels // _COLOURS if given is None else given
    if not isinstance(steps, int) or steps < 1 or shape.channels % steps:
        raise ValueError(
            f"vision.img_cond_steps={steps}: expected a divisor of the {shape.channels} channels "
            f"that the ViT in {weights.path} sees"
        )
    return steps


def image_shape(
    shape: VisionShape, size: tuple[int, int], steps: int, weights: Weights
) -> tuple[int, int, int]:
    """`(C, H, W)` of the picture of one step, all cameras.

    Args:
        shape: What weights tell.
        size: `(H, W)`; several have as many patches.
        steps: `img_cond_steps`.
        weights: Of the network, for messages.

    Raises:
        ValueError: Pictures of that size have another number of patches.
    """
    style = shape.told["embed_style"]
    height, width = size
    if (found := num_patches(height, width, style)) != shape.patches:
        raise ValueError(
            f"image_size=({height}, {width}): such pictures have {found} patches, but those of "
            f"{weights.path} have {shape.patches}{_squares(shape)}"
        )
    return shape.told["num_cameras"] * shape.channels // steps, height, width


def _squares(shape: VisionShape) -> str:
    """The square pictures of as many patches, in words."""
    sides = []
    style = shape.told["embed_style"]
    for side in _SIDES[style]:
        patches = num_patches(side, side, style)
        if patches == shape.patches:
            sides.append(side)
        if patches > shape.patches:
            break
    if not sides:
        return ""
    return f", as square ones of {sides[0]} to {sides[-1]} pixels have"
