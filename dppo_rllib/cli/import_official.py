"""`dppo import-official`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dppo_rllib.cli.errors import user_errors
from dppo_rllib.cli.settings import parse_settings

if TYPE_CHECKING:
    from dppo_rllib.checkpoints import PolicyCheckpoint

# Arguments of `import_official` that only --set reaches: whole ones, and fields of others.
_WHOLE = (
    "critic_activation",
    "min_sampling_denoising_std",
    "min_logprob_denoising_std",
    "randn_clip_value",
)
_WITH_FIELDS = ("network", "vision", "denoising", "learned_eta")


def import_official(
    file: Annotated[Path, typer.Argument(help="Checkpoint of the DPPO authors' code (.pt).")],
    output: Annotated[Path, typer.Option(help="New directory for the policy.")],
    normalization: Annotated[
        Path | None,
        typer.Option(
            help="The normalization.npz of its demonstrations (Furniture-Bench: .pth); tells the "
            "width of observations and actions."
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task it belongs to; says which environment to use.")
    ] = None,
    denoising_steps: Annotated[
        int | None, typer.Option(min=1, help="K of a diffusion policy.")
    ] = None,
    ddim_steps: Annotated[
        int | None, typer.Option(min=1, help="Sampler steps of DDIM; none of them is DDPM.")
    ] = None,
    ft_denoising_steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Fine-tuned steps; a fine-tuned diffusion policy needs them (the authors': 10 "
            "with DDPM, 5 with DDIM).",
        ),
    ] = None,
    act_steps: Annotated[
        int | None, typer.Option(min=1, help="Executed actions a chunk; only a U-Net needs them.")
    ] = None,
    horizon_steps: Annotated[
        int | None, typer.Option(min=1, help="Predicted actions a chunk; only a U-Net needs them.")
    ] = None,
    image_size: Annotated[
        tuple[int, int] | None,
        typer.Option(metavar="HEIGHT WIDTH", help="Of pictures, e.g. --image-size 96 96."),
    ] = None,
    cond_steps: Annotated[int, typer.Option(min=1, help="Observations the policy sees.")] = 1,
    action_dim: Annotated[
        int | None, typer.Option(min=1, help="Width of an action, without a normalization.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="Of the actor, e.g. ReLU or Mish, gelu for a transformer.")
    ] = None,
    predict_epsilon: Annotated[
        bool, typer.Option(help="The network predicts the noise, not the clean chunk.")
    ] = True,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What else weights do not tell, as JSON, e.g. network.n_groups=8; may be "
            "repeated. See above.",
        ),
    ] = None,
) -> None:
    """Turn a checkpoint of the DPPO authors' code into a policy for every command.

    Diffusion policies (MLP, U-Net), Gaussian ones and mixtures (MLP,
    transformer), with states or pictures, pre-trained or fine-tuned by PPO.
    Which it is, and its layers, are read off the weights. What weights do not
    tell is taken from the authors' configurations if the task is one of
    theirs, and shown. Otherwise the command names what is missing: an option
    (act_steps is --act-steps), or a key of --set. Its keys are

    network.n_groups, network.groupnorm_eps      of a U-Net
    network.num_heads                            of a transformer
    network.fixed_std                            if it is not learned
    network.tanh_output                          of a Gaussian MLP
    vision.num_heads, vision.img_cond_steps      with pictures
    denoising.eps_clip_value, ...                the process of denoising
    learned_eta.base_eta, ...                    DDIM's noise level, if learned
    min_sampling_denoising_std, min_logprob_denoising_std,
    randn_clip_value, critic_activation
    """
    from dppo_rllib.checkpoints import save_policy
    from dppo_rllib.checkpoints.official import import_official as read
    from dppo_rllib.tasks import get_task

    options: dict[str, Any] = {
        "denoising_steps": denoising_steps,
        "ddim_steps": ddim_steps,
        "ft_denoising_steps": ft_denoising_steps,
        "act_steps": act_steps,
        "horizon_steps": horizon_steps,
        "image_size": image_size,
        "action_dim": action_dim,
        "activation": activation,
        "predict_epsilon": predict_epsilon,
    }
    with user_errors():
        if output.exists():
            raise FileExistsError(f"--output {output}: exists already; expected a new directory")
        options |= _arguments(settings or [])
        if task is not None:
            known = get_task(task)
            options |= {"task": known.name}
            if isinstance(known.env, str):
                options["env"] = {
                    "id": known.env,
                    "config": dict(known.env_config),
                    "max_episode_steps": known.max_episode_steps,
                }
        policy = read(
            file,
            normalization=normalization,
            cond_steps=cond_steps,
            **{name: value for name, value in options.items() if value is not None},
        )
        save_policy(policy, output)
    console = Console()
    console.print(_summary(str(output), policy))
    for line in _assumed(policy.provenance.get("assumed", {})):
        console.print(line, highlight=False, markup=False)


def _arguments(settings: Sequence[str]) -> dict[str, Any]:
    """Arguments of `import_official` from `--set`.

    Raises:
        ValueError: One is not `key=value`, or there is no such argument.
    """
    arguments: dict[str, Any] = {}
    for key, value in parse_settings(settings).items():
        name, dot, field = key.partition(".")
        if not dot and name in _WHOLE:
            arguments[name] = value
        elif field and name in _WITH_FIELDS:
            arguments.setdefault(name, {})[field] = value
        else:
            raise ValueError(
                f"--set {key}: expected one of {list(_WHOLE)}, or a field of one of "
                f"{list(_WITH_FIELDS)}, as network.n_groups; other arguments have an option of "
                "their own"
            )
    return arguments


def _summary(title: str, policy: PolicyCheckpoint) -> Table:
    """What the policy is."""
    config = policy.config
    values = config.to_dict()
    network = dict(values["network"])
    rows = {
        "policy": f"{config.kind}, {'fine-tuned' if config.fine_tuned else 'pre-trained'}",
        "network": network.pop("type"),
        **{f"network.{name}": value for name, value in network.items()},
        "observations": f"{config.cond_steps} x {config.obs_dim}",
    }
    if config.vision is not None:
        rows["pictures"] = " x ".join(map(str, config.image_shape or ()))
        rows |= {f"vision.{name}": value for name, value in asdict(config.vision).items()}
    rows["chunk"] = f"{config.horizon_steps} x {config.action_dim}, {config.act_steps} executed"
    rows |= _sampler(values)
    rows["critic"] = "none" if policy.critic is None else _text(policy.critic["mlp_dims"])
    table = Table(title=title, show_header=False)
    for name, value in rows.items():
        table.add_row(name, _text(value))
    return table


def _sampler(values: Mapping[str, Any]) -> dict[str, Any]:
    """How chunks are sampled, from the configuration of whatever policy."""
    if "denoising" not in values:
        return {"randn_clip_value": values["randn_clip_value"]}
    denoising, learned = values["denoising"], values["learned_eta"]
    ddim = denoising["ddim_steps"]
    steps = denoising["denoising_steps"]
    rows = {"sampler": f"DDPM, {steps} steps" if ddim is None else f"DDIM, {ddim} of {steps} steps"}
    if ddim is not None:
        rows["eta"] = denoising["eta"] if learned is None else f"learned ({learned['kind']})"
    if values["ft_denoising_steps"]:
        rows["fine-tuned steps"] = values["ft_denoising_steps"]
    return rows


def _assumed(assumed: Mapping[str, Any]) -> list[str]:
    """What no weight told, in words."""
    values = {name: value for name, value in assumed.items() if name != "family"}
    if not values:
        return []
    family = assumed.get("family")
    whose = f"the authors' configurations of {family}" if family else "all of the authors'"
    return [
        f"Not told by weights, but the same in {whose}:",
        *(f"  {name} = {_text(value)}" for name, value in values.items()),
    ]


def _text(value: Any) -> str:
    """A value as a person writes it."""
    return ", ".join(map(str, value)) if isinstance(value, (tuple, list)) else str(value)
