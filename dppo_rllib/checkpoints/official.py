"""Import of checkpoints of the DPPO authors' code into native policies.

Their `.pt` files hold weights and nothing about the sampler. What weights cannot tell is an
argument here, or the one value that all of the authors' configurations of a task share. Nothing
is guessed beyond that: a wrong guess loads well and acts badly.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from dppo_rllib.checkpoints.official_actor import OfficialActor, read_actor
from dppo_rllib.checkpoints.official_architecture import Weights, check_state, read_mlp
from dppo_rllib.checkpoints.official_eta import read_eta
from dppo_rllib.checkpoints.official_file import OfficialFile, read_official
from dppo_rllib.checkpoints.policy_checkpoint import PolicyCheckpoint
from dppo_rllib.denoising import DenoisingConfig
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.modules.diffusion_policy import DiffusionPolicyConfig
from dppo_rllib.modules.gaussian_policy import GaussianPolicyConfig
from dppo_rllib.modules.gmm_policy import GMMPolicyConfig
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.networks import Critic, CriticConfig

_MIN_STD = 0.1  # of sampling and of log-probabilities; the defaults of the authors' code
_ONE_STEP = {"gaussian": GaussianPolicyConfig, "gmm": GMMPolicyConfig}
_KIND_NAMES = {
    "diffusion": "a diffusion policy",
    "gaussian": "a Gaussian policy",
    "gmm": "a Gaussian mixture policy",
}
_ONLY_DIFFUSION = (
    "denoising_steps",
    "ddim_steps",
    "ft_denoising_steps",
    "predict_epsilon",
    "min_sampling_denoising_std",
    "min_logprob_denoising_std",
    "denoising",
    "learned_eta",
)
_ONLY_ONE_STEP = ("randn_clip_value",)
_ENV_KEYS = ["config", "id", "max_episode_steps"]


def import_official(
    path: str | os.PathLike[str],
    *,
    normalization: str | os.PathLike[str] | Normalization | None = None,
    action_dim: int | None = None,
    cond_steps: int = 1,
    horizon_steps: int | None = None,
    act_steps: int | None = None,
    image_size: tuple[int, int] | None = None,
    denoising_steps: int | None = None,
    ddim_steps: int | None = None,
    ft_denoising_steps: int | None = None,
    predict_epsilon: bool = True,
    activation: str | None = None,
    critic_activation: str = "Mish",
    min_sampling_denoising_std: float | None = None,
    min_logprob_denoising_std: float | None = None,
    randn_clip_value: float | None = None,
    denoising: Mapping[str, Any] | None = None,
    learned_eta: Mapping[str, Any] | None = None,
    network: Mapping[str, Any] | None = None,
    vision: Mapping[str, Any] | None = None,
    task: str | None = None,
    env: str | Mapping[str, Any] | None = None,
) -> PolicyCheckpoint:
    """Reads a checkpoint of a pre-trained policy, or of one that PPO fine-tuned, strictly.

    Diffusion policies (MLP or U-Net, DDPM or DDIM), Gaussian ones and mixtures (MLP or
    transformer), with states or with pictures. Which it is, its dimensions and its layers are taken
    from the weights. Where it says "the authors' for the task", the task is recognised by
    dimensions and chunk length; `provenance["assumed"]` lists what was taken from there.

    Args:
        path: The `.pt` file.
        normalization: The `normalization.npz` of its demonstrations (Furniture-Bench: `.pth`).
        action_dim: `Da`; only needed without a normalisation, and where weights do not tell it.
        cond_steps: `To`.
        horizon_steps: `Tp`, which only a U-Net does not tell. None takes the authors' for the task.
        act_steps: `Ta`. None executes the whole chunk, as all of the authors' policies do but their
            U-Nets, for which it takes the authors' for the task.
        image_size: `(height, width)` of pictures. None takes the authors' for the task.
        denoising_steps: `K`. None takes the authors' for the task, and `ddim_steps` with it.
        ddim_steps: Sampler steps of DDIM; None beside a given `denoising_steps` is DDPM.
        ft_denoising_steps: `K'`; required for a fine-tuned diffusion policy, and only there.
        predict_epsilon: Whether a denoiser predicts the noise.
        activation: Of the actor: in the authors' code "Mish" (their default) or "ReLU" for MLPs,
            "Mish" for U-Nets, "gelu" for transformers. None takes the authors' for the task.
        critic_activation: Of the critic.
        min_sampling_denoising_std: Floor of the sampling noise when exploring; None takes the
            authors' for the task, else 0.1.
        min_logprob_denoising_std: Floor of the standard deviation in log-probabilities; None is
            the authors' 0.1.
        randn_clip_value: Bound on the noise of a Gaussian policy (None is the authors' 3) or of a
            mixture (None is no bound, as they have it). That of a denoiser is in `denoising`.
        denoising: Further fields of `DenoisingConfig` (eta, clip values).
        learned_eta: Fields of `EtaConfig` that a learned noise level of DDIM does not tell.
        network: Fields of the actor's configuration that weights do not tell, or none of the
            authors' configurations sets: `n_groups` and `groupnorm_eps` of a U-Net, `num_heads` of
            a transformer, `fixed_std` where it is constant, `tanh_output` of a Gaussian MLP.
        vision: Such fields of `VisionConfig`: `num_heads`, `img_cond_steps`.
        task: Name of the task it belongs to.
        env: Its environment: an id, or `{"id", "config", "max_episode_steps"}`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no such checkpoint, its architecture is not supported, a key is
            missing or unknown, or a value that it cannot tell was not given or contradicts it.
    """
    file = read_official(Path(path))
    if normalization is not None and not isinstance(normalization, Normalization):
        normalization = Normalization.from_file(normalization)
    given = {
        "horizon_steps": horizon_steps,
        "act_steps": act_steps,
        "image_size": image_size,
        "denoising_steps": _agree("denoising_steps", denoising_steps, file),
        "ddim_steps": _agree("ddim_steps", ddim_steps, file),
        "activation": activation,
        "min_sampling_denoising_std": min_sampling_denoising_std,
        "randn_clip_value": randn_clip_value,
        **{f"network.{name}": value for name, value in _fields(network).items()},
        **{f"vision.{name}": value for name, value in _fields(vision).items()},
    }
    of_denoisers = {
        "ft_denoising_steps": ft_denoising_steps,
        "min_logprob_denoising_std": min_logprob_denoising_std,
        "denoising": _fields(denoising) or None,
        "learned_eta": _fields(learned_eta) or None,
        "predict_epsilon": None if predict_epsilon else False,
    }
    _check_kind(file, given | of_denoisers)
    actor = read_actor(file, normalization, action_dim, cond_steps, given)
    config: PolicyConfig
    if file.kind == "diffusion":
        config, assumed = _diffusion_config(file, actor, of_denoisers)
    else:
        config, assumed = _one_step_config(file, actor), actor.settings.assumed
    critic = None
    if file.critic is not None:
        (_, *hidden, _), style = read_mlp(Weights(file.critic, "critic", file.path), "Q1")
        critic = CriticConfig(tuple(hidden), activation=critic_activation, **style)
    return PolicyCheckpoint(
        config=config,
        weights=_weights(config, critic, file),
        normalization=normalization,
        task=task,
        env=_env(env),
        critic=asdict(critic) if critic else None,
        provenance=file.provenance | ({"assumed": _plain(assumed)} if assumed else {}),
    )


def _fields(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields as configurations have them: lists become tuples."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in (overrides or {}).items()}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: tuples become lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def _agree(name: str, given: int | None, file: OfficialFile) -> int | None:
    found = getattr(file, name)
    if found is not None and given not in (None, found):
        raise ValueError(f"{name}={given}: {file.path} was made with {found}")
    return given if found is None else found


def _check_kind(file: OfficialFile, given: Mapping[str, Any]) -> None:
    """Raises ValueError if an argument is of another kind of policies."""
    for name in _ONLY_ONE_STEP if file.kind == "diffusion" else _ONLY_DIFFUSION:
        if given[name] is not None:
            raise ValueError(
                f"{name}={given[name]}: {file.path} holds {_KIND_NAMES[file.kind]}, which has no "
                "such setting"
                + ("; that of a denoiser is in denoising" if name == "randn_clip_value" else "")
            )


def _diffusion_config(
    file: OfficialFile, actor: OfficialActor, given: Mapping[str, Any]
) -> tuple[DiffusionPolicyConfig, dict[str, Any]]:
    """The configuration of a diffusion policy, and what was assumed for it."""
    values, fields = actor.settings.values, actor.fields
    sampler = {
        "denoising_steps": values["denoising_steps"],
        "ddim_steps": values.get("ddim_steps"),
        "predict_epsilon": given["predict_epsilon"] is None,
    }
    denoising = given["denoising"] or {}
    if repeated := sorted(sampler.keys() & denoising):
        raise ValueError(f"denoising: holds {repeated}, which are arguments of their own")
    eta = read_eta(
        file,
        given["learned_eta"] or {},
        ddim_steps=sampler["ddim_steps"],
        cond_dim=fields["cond_steps"] * fields["obs_dim"],
        action_dim=fields["action_dim"],
    )
    if eta.constant is not None:
        if denoising.get("eta", eta.constant) != eta.constant:
            raise ValueError(
                f"denoising.eta={denoising['eta']}: {file.path} was made with {eta.constant}"
            )
        sampler["eta"] = eta.constant
    min_logprob_std = given["min_logprob_denoising_std"]
    config = DiffusionPolicyConfig(
        **fields,
        ft_denoising_steps=_fine_tuned_steps(given["ft_denoising_steps"], file),
        min_sampling_denoising_std=values.get("min_sampling_denoising_std", _MIN_STD),
        min_logprob_denoising_std=_MIN_STD if min_logprob_std is None else min_logprob_std,
        denoising=build_dataclass(DenoisingConfig, sampler | denoising),
        learned_eta=eta.learned,
    )
    return config, actor.settings.assumed | eta.assumed


def _one_step_config(file: OfficialFile, actor: OfficialActor) -> PolicyConfig:
    """The configuration of a Gaussian policy or a mixture."""
    clip = {k: v for k, v in actor.settings.values.items() if k == "randn_clip_value"}
    return _ONE_STEP[file.kind](**actor.fields, fine_tuned=file.actor_ft is not None, **clip)


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


def _weights(
    config: PolicyConfig, critic: CriticConfig | None, file: OfficialFile
) -> dict[str, Tensor]:
    """Weights by native name, checked against the networks that will load them."""
    check_state(Weights(file.base, file.base_part, file.path), config.build_network())
    parts = {"actor": file.base}
    if file.actor_ft is not None:
        check_state(Weights(file.actor_ft, "actor_ft", file.path), config.build_network())
        parts["actor_ft"] = file.actor_ft
    if file.critic is not None and critic is not None:
        network = Critic(critic, config.observation_spec)
        check_state(Weights(file.critic, "critic", file.path), network)
        parts["critic"] = file.critic
    if file.eta is not None and getattr(config, "learned_eta", None) is not None:
        parts["eta"] = file.eta  # checked where it was read
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
