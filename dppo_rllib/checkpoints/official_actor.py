"""The actor of a checkpoint: its network and its observations, as fields of a configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from dppo_rllib.checkpoints.official_architecture import NetworkShape, Weights
from dppo_rllib.checkpoints.official_denoisers import read_denoiser
from dppo_rllib.checkpoints.official_families import ARCHITECTURES
from dppo_rllib.checkpoints.official_file import OfficialFile
from dppo_rllib.checkpoints.official_heads import read_head
from dppo_rllib.checkpoints.official_settings import (
    Settings,
    action_and_horizon,
    check_overrides,
    complete,
    fields_of,
    find_authors,
    given_action_dim,
    observation_dim,
)
from dppo_rllib.checkpoints.official_vision import (
    VisionShape,
    image_shape,
    read_vision,
    steps_of_pictures,
)
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.networks import VisionConfig

# What only the process of a denoiser needs; the noise level of DDIM is apart.
_SAMPLER = ("ddim_steps", "min_sampling_denoising_std")


class OfficialActor(NamedTuple):
    """What a checkpoint and its arguments say of a policy, whatever its kind.

    Attributes:
        fields: Fields of `PolicyConfig`.
        settings: All that weights do not tell.
    """

    fields: dict[str, Any]
    settings: Settings


def read_actor(
    file: OfficialFile,
    normalization: Normalization | None,
    action_dim: int | None,
    cond_steps: int,
    given: Mapping[str, Any],
) -> OfficialActor:
    """Reads the actor, and completes it with what was given and with what the authors have.

    Args:
        file: The checkpoint.
        normalization: Of observations and actions, None if not known.
        action_dim: `Da`, None if not given.
        cond_steps: `To`.
        given: Arguments of `import_official` by name, a dot before fields of `network` and
            `vision`; None where not given.

    Raises:
        ValueError: Weights are of no network of the authors, a value is missing, or values
            contradict each other.
    """
    weights = Weights(file.base, file.base_part, file.path)
    vision = _read_pictures(weights, given)
    visual_dim = 0 if vision is None else vision.features
    action_dim = given_action_dim(normalization, action_dim)
    if file.kind == "diffusion":
        shape = read_denoiser(weights, visual_dim)
    else:
        shape = read_head(file.kind, weights, visual_dim, action_dim)
    action_dim, horizon_steps = action_and_horizon(
        shape, weights, action_dim, given["horizon_steps"]
    )
    obs_dim = observation_dim(shape, weights, normalization, cond_steps)
    check_overrides("network", ARCHITECTURES[shape.architecture], shape.told, given, weights)
    settings = complete(
        *_names(shape, vision, given),
        given={**given, "horizon_steps": horizon_steps},
        authors=find_authors(shape, vision, obs_dim, action_dim, horizon_steps),
        subject=f"{file.path} ({shape.architecture}, obs_dim={obs_dim}, action_dim={action_dim}"
        + (")" if horizon_steps is None else f", horizon_steps={horizon_steps})"),
    )
    horizon_steps = settings.values["horizon_steps"]
    fields = {
        "obs_dim": obs_dim,
        "action_dim": action_dim,
        "cond_steps": cond_steps,
        "horizon_steps": horizon_steps,
        "act_steps": settings.values.get("act_steps", horizon_steps),
        "network": _network(shape, settings),
    }
    if vision is not None:
        fields |= _pictures(vision, settings, weights)
    return OfficialActor(fields, settings)


def _names(
    shape: NetworkShape, vision: VisionShape | None, given: Mapping[str, Any]
) -> tuple[list[str], list[str]]:
    """Settings that must be known, and those that may."""
    diffusion = shape.architecture.startswith("diffusion")
    required = ["denoising_steps"] if diffusion else []
    required += [*shape.untold, "horizon_steps"]
    if shape.architecture == "diffusion unet":
        required.append("act_steps")
    if vision is not None:
        required += ["vision.num_heads", "image_size"]
    optional = list(_SAMPLER) if diffusion else ["randn_clip_value"]
    if given.get("denoising_steps") is not None:
        optional.remove("ddim_steps")  # K without it is DDPM
    return required, optional


def _read_pictures(weights: Weights, given: Mapping[str, Any]) -> VisionShape | None:
    vision = read_vision(weights)
    if vision is not None:
        check_overrides("vision", VisionConfig, vision.told, given, weights)
        return vision
    for name, value in given.items():
        if value is not None and (name == "image_size" or name.startswith("vision.")):
            raise ValueError(f"{name}={value!r}: the network in {weights.path} sees no pictures")
    return None


def _network(shape: NetworkShape, settings: Settings) -> Any:
    fields = shape.defaults | fields_of("network", settings.values) | shape.told
    fields["activation"] = settings.values["activation"]
    return build_dataclass(ARCHITECTURES[shape.architecture], fields)


def _pictures(vision: VisionShape, settings: Settings, weights: Weights) -> dict[str, Any]:
    fields = fields_of("vision", settings.values)
    steps = steps_of_pictures(vision, fields.get("img_cond_steps"), weights)
    if "img_cond_steps" not in fields:
        settings.assumed["vision.img_cond_steps"] = steps
    config = build_dataclass(VisionConfig, fields | {"img_cond_steps": steps} | vision.told)
    size = settings.values["image_size"]
    return {"vision": config, "image_shape": image_shape(vision, size, steps, weights)}
