"""Import of checkpoints of the DPPO authors' code into native policies.

Their `.pt` files hold weights and nothing about the sampler. What weights cannot tell is an
argument here, or the one value that all of the authors' configurations of a task share. Nothing
is guessed beyond that: a wrong guess loads well and acts badly.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dppo_rllib.checkpoints.official_architecture import (
    DenoiserShape,
    check_state,
    infer_critic,
    infer_denoiser,
)
from dppo_rllib.checkpoints.official_file import OfficialFile, read_official
from dppo_rllib.checkpoints.policy_checkpoint import PolicyCheckpoint
from dppo_rllib.denoising import DenoisingConfig
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.diffusion_policy import DiffusionPolicyConfig
from dppo_rllib.modules.policy import build_dataclass
from dppo_rllib.networks import Critic, CriticConfig, DiffusionMLPConfig, ObservationSpec

_ETA_MIN, _ETA_MAX = 0.1, 1.0  # in every configuration of the authors
_ENV_KEYS = ["config", "id", "max_episode_steps"]


@dataclass(frozen=True)
class _Family:
    """What the authors' MLP configurations of a task agree on; None where they do not."""

    name: str
    activation: str
    denoising_steps: int | None = 20
    ddim_steps: int | None = None
    min_sampling_denoising_std: float = 0.1


_GYM = _Family("Gym", "ReLU")
_GYM_SINGLE_STEP = _Family("Gym", "ReLU", denoising_steps=None)  # 20, or 10 from scratch
_ROBOMIMIC = _Family("Robomimic", "Mish")
_FURNITURE = _Family("Furniture-Bench", "Mish", 100, 5, 0.04)
# By (obs_dim, action_dim, horizon_steps), which no two families share.
_FAMILIES = {
    (11, 3, 4): _GYM,
    (17, 6, 4): _GYM,
    (11, 3, 1): _GYM_SINGLE_STEP,
    (17, 6, 1): _GYM_SINGLE_STEP,
    (60, 9, 4): _Family("Kitchen", "Mish"),
    (4, 2, 4): _Family("Avoid", "ReLU"),
    (19, 7, 4): _ROBOMIMIC,
    (23, 7, 4): _ROBOMIMIC,
    (23, 7, 1): _ROBOMIMIC,
    (59, 14, 8): _ROBOMIMIC,
    (58, 10, 8): _FURNITURE,
    (44, 10, 8): _FURNITURE,
}


def import_official(
    path: str | os.PathLike[str],
    *,
    normalization: str | os.PathLike[str] | Normalization | None = None,
    action_dim: int | None = None,
    cond_steps: int = 1,
    act_steps: int | None = None,
    denoising_steps: int | None = None,
    ddim_steps: int | None = None,
    ft_denoising_steps: int | None = None,
    predict_epsilon: bool = True,
    activation: str | None = None,
    critic_activation: str = "Mish",
    min_sampling_denoising_std: float | None = None,
    min_logprob_denoising_std: float = 0.1,
    denoising: Mapping[str, Any] | None = None,
    task: str | None = None,
    env: str | Mapping[str, Any] | None = None,
) -> PolicyCheckpoint:
    """Reads a checkpoint of an MLP diffusion policy, strictly.

    Dimensions, widths, residual blocks, LayerNorm and the observation MLP are taken from the
    weights. Where it says "the authors' for the task", the task is recognised by dimensions and
    chunk length; `provenance["assumed"]` lists what was taken from there.

    Args:
        path: The `.pt` file.
        normalization: The `normalization.npz` of its demonstrations.
        action_dim: `Da`; only needed without a normalisation.
        cond_steps: `To`.
        act_steps: `Ta`; None executes the whole chunk, as all of the authors' MLP policies do.
        denoising_steps: `K`. None takes the authors' for the task, and `ddim_steps` with it.
        ddim_steps: Sampler steps of DDIM; None beside a given `denoising_steps` is DDPM.
        ft_denoising_steps: `K'`; required for a fine-tuned checkpoint, and only there.
        predict_epsilon: Whether the network predicts the noise.
        activation: Of the denoiser: "ReLU" in the authors' Gym and Avoid, "Mish" (their default)
            in all other tasks. None takes the authors' for the task.
        critic_activation: Of the critic.
        min_sampling_denoising_std: Floor of the sampling noise when exploring; None takes the
            authors' for the task, else 0.1.
        min_logprob_denoising_std: Floor of the standard deviation in log-probabilities.
        denoising: Further fields of `DenoisingConfig` (eta, clip values).
        task: Name of the task it belongs to.
        env: Its environment: an id, or `{"id", "config", "max_episode_steps"}`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no such checkpoint, its architecture is not supported, a key is
            missing or unknown, or a value that it cannot tell was not given or contradicts it.
    """
    file = read_official(Path(path))
    shape = infer_denoiser(file.base, file.path)
    if normalization is not None and not isinstance(normalization, Normalization):
        normalization = Normalization.from_npz(normalization)
    obs_dim, action_dim = _dimensions(normalization, action_dim, cond_steps, shape, file)
    dims = (obs_dim, action_dim, shape.chunk_dim // action_dim)
    settings, assumed = _complete(
        {
            "denoising_steps": _agree("denoising_steps", denoising_steps, file),
            "ddim_steps": _agree("ddim_steps", ddim_steps, file),
            "activation": activation,
            "min_sampling_denoising_std": min_sampling_denoising_std,
        },
        dims,
        file,
    )
    sampler = {
        "denoising_steps": settings["denoising_steps"],
        "ddim_steps": settings["ddim_steps"],
        "predict_epsilon": predict_epsilon,
    }
    if repeated := sorted(sampler.keys() & (denoising or {})):
        raise ValueError(f"denoising: holds {repeated}, which are arguments of their own")
    config = DiffusionPolicyConfig(
        obs_dim=obs_dim,
        action_dim=action_dim,
        cond_steps=cond_steps,
        horizon_steps=dims[2],
        act_steps=dims[2] if act_steps is None else act_steps,
        ft_denoising_steps=_fine_tuned_steps(ft_denoising_steps, file),
        min_sampling_denoising_std=settings["min_sampling_denoising_std"],
        min_logprob_denoising_std=min_logprob_denoising_std,
        denoising=build_dataclass(
            DenoisingConfig, sampler | _eta(settings["ddim_steps"], file) | dict(denoising or {})
        ),
        network=DiffusionMLPConfig(**shape.fields, activation=settings["activation"]),
    )
    critic = None
    if file.critic is not None:
        critic = CriticConfig(**infer_critic(file.critic, file.path), activation=critic_activation)
    return PolicyCheckpoint(
        config=config,
        weights=_weights(config, critic, file),
        normalization=normalization,
        task=task,
        env=_env(env),
        critic=asdict(critic) if critic else None,
        provenance=file.provenance | ({"assumed": assumed} if assumed else {}),
    )


def _dimensions(
    normalization: Normalization | None,
    action_dim: int | None,
    cond_steps: int,
    shape: DenoiserShape,
    file: OfficialFile,
) -> tuple[int, int]:
    """`Do` and `Da` on which weights, normalisation and arguments agree."""
    if normalization is not None:
        actions = len(normalization.action_min)
        if action_dim not in (None, actions):
            raise ValueError(f"action_dim={action_dim}: normalization has {actions} actions")
        action_dim = actions
    if action_dim is None:
        raise ValueError(
            f"action_dim: {file.path} only tells that chunks have {shape.chunk_dim} numbers; pass "
            "normalization=..., the normalization.npz of its demonstrations, or action_dim=..."
        )
    if action_dim < 1 or shape.chunk_dim % action_dim:
        raise ValueError(
            f"action_dim={action_dim}: expected a divisor of {shape.chunk_dim}, the size of the "
            f"chunks in {file.path}; is it the normalization of another task?"
        )
    if cond_steps < 1 or shape.cond_dim % cond_steps:
        raise ValueError(
            f"cond_steps={cond_steps}: expected a divisor of {shape.cond_dim}, the size of the "
            f"observation history in {file.path}"
        )
    obs_dim = shape.cond_dim // cond_steps
    if normalization is not None and normalization.obs_min is not None:
        given = len(normalization.obs_min)
        if given != obs_dim:
            fits = given > 0 and shape.cond_dim % given == 0
            hint = f"pass cond_steps={shape.cond_dim // given}" if fits else "is it another task's?"
            raise ValueError(
                f"normalization: obs_min has {given} entries, but with cond_steps={cond_steps} "
                f"observations have {obs_dim} in {file.path}; {hint}"
            )
    return obs_dim, action_dim


def _agree(name: str, given: int | None, file: OfficialFile) -> int | None:
    found = getattr(file, name)
    if found is not None and given not in (None, found):
        raise ValueError(f"{name}={given}: {file.path} was made with {found}")
    return given if found is None else found


def _complete(
    given: dict[str, Any], dims: tuple[int, int, int], file: OfficialFile
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings with the authors' where None was given, and which these are."""
    family = _FAMILIES.get(dims)
    assumed: dict[str, Any] = {}
    if family is not None:
        assumed = {
            name: getattr(family, name)
            for name, value in given.items()
            if value is None and getattr(family, name) is not None
        }
        if given["denoising_steps"] is not None:
            assumed.pop("ddim_steps", None)
    settings = {"min_sampling_denoising_std": 0.1} | {
        name: value for name, value in (given | assumed).items() if value is not None
    }
    for name in ("denoising_steps", "activation"):
        if name not in settings:
            raise ValueError(
                f"{name}: {file.path} does not tell it, and for obs_dim={dims[0]}, "
                f"action_dim={dims[1]}, horizon_steps={dims[2]} the authors have no single value; "
                f"pass {name}=... as in its training"
            )
    settings.setdefault("ddim_steps", None)
    return settings, {"family": family.name, **assumed} if family and assumed else {}


def _fine_tuned_steps(given: int | None, file: OfficialFile) -> int:
    if file.actor_ft is not None and not given:
        raise ValueError(
            f"ft_denoising_steps={given}: {file.path} holds a fine-tuned network, but not how many "
            "of the last denoising steps it takes; pass ft_denoising_steps=... as in its training "
            "(the authors': 10 with DDPM, 5 with DDIM)"
        )
    if file.actor_ft is None and given:
        raise ValueError(
            f"ft_denoising_steps={given}: {file.path} was only pre-trained, expected None or 0"
        )
    return given or 0


def _eta(ddim_steps: int | None, file: OfficialFile) -> dict[str, float]:
    """DDIM's noise level, where it is one number (the authors' `EtaFixed`, which never learns)."""
    if file.eta is None:
        if file.actor_ft is not None and ddim_steps is not None:
            raise ValueError(
                f"ddim_steps={ddim_steps}: {file.path} has no eta.eta_logit, so it was fine-tuned "
                "with DDPM; pass denoising_steps=... without ddim_steps"
            )
        return {}
    keys = [f"eta.{key}" for key in sorted(file.eta)]
    logit = file.eta.get("eta_logit")
    if len(keys) != 1 or logit is None or logit.numel() != 1 or logit.isnan().any():
        raise ValueError(
            f"{file.path}: {keys} are a learned noise level of DDIM, which is not supported yet; "
            "expected at most one number in eta.eta_logit"
        )
    if ddim_steps is None:
        raise ValueError(
            f"ddim_steps=None: {file.path} has {keys}, so it was fine-tuned with DDIM; pass "
            "denoising_steps=... and ddim_steps=... as in its training"
        )
    share = (math.tanh(logit.item()) + 1) / 2
    return {"eta": round(_ETA_MIN + share * (_ETA_MAX - _ETA_MIN), 6)}  # logits are float32


def _weights(
    config: DiffusionPolicyConfig, critic: CriticConfig | None, file: OfficialFile
) -> dict[str, Tensor]:
    """Weights by native name, checked against the networks that will load them."""
    check_state(file.base, config.build_network(), "network", file.path)
    parts = {"actor": file.base}
    if file.actor_ft is not None:
        check_state(file.actor_ft, config.build_network(), "actor_ft", file.path)
        parts["actor_ft"] = file.actor_ft
    if file.critic is not None and critic is not None:
        network = Critic(critic, ObservationSpec(config.cond_steps * config.obs_dim))
        check_state(file.critic, network, "critic", file.path)
        parts["critic"] = file.critic
    return {
        f"{part}.{key}": value.detach().clone()
        for part, state in parts.items()
        for key, value in state.items()
    }


def _env(env: str | Mapping[str, Any] | None) -> dict[str, Any] | None:
    if env is None:
        return None
    if isinstance(env, str):
        return {"id": env, "config": {}, "max_episode_steps": None}
    if sorted(env) != _ENV_KEYS:
        raise ValueError(f"env: keys {sorted(env)}, expected {_ENV_KEYS}, or the id alone")
    return dict(env)
