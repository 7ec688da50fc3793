"""`dppo import-official`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dppo_rllib.cli.errors import user_errors


def import_official(
    file: Annotated[Path, typer.Argument(help="Checkpoint of the DPPO authors' code (.pt).")],
    output: Annotated[Path, typer.Option(help="New directory for the policy.")],
    normalization: Annotated[
        Path | None, typer.Option(help="The normalization.npz of its demonstrations.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Task it belongs to; says which environment to use.")
    ] = None,
    denoising_steps: Annotated[int | None, typer.Option(min=1, help="K of DDPM.")] = None,
    ddim_steps: Annotated[int | None, typer.Option(min=1, help="Sampler steps of DDIM.")] = None,
    ft_denoising_steps: Annotated[
        int | None, typer.Option(min=1, help="Fine-tuned steps, for a fine-tuned checkpoint.")
    ] = None,
    act_steps: Annotated[int | None, typer.Option(min=1, help="Executed actions a chunk.")] = None,
    cond_steps: Annotated[int, typer.Option(min=1, help="Observations the policy sees.")] = 1,
    action_dim: Annotated[
        int | None, typer.Option(min=1, help="Width of an action, without a normalization.")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="Of the denoiser, e.g. ReLU or Mish.")
    ] = None,
    predict_epsilon: Annotated[
        bool, typer.Option(help="The network predicts the noise, not the clean chunk.")
    ] = True,
) -> None:
    """Turn a checkpoint of the DPPO authors' code into a policy that every command takes."""
    from dppo_rllib.checkpoints import save_policy
    from dppo_rllib.checkpoints.official import import_official as read
    from dppo_rllib.tasks import get_task

    options: dict[str, Any] = {
        "denoising_steps": denoising_steps,
        "ddim_steps": ddim_steps,
        "ft_denoising_steps": ft_denoising_steps,
        "act_steps": act_steps,
        "action_dim": action_dim,
        "activation": activation,
        "predict_epsilon": predict_epsilon,
    }
    with user_errors():
        if output.exists():
            raise FileExistsError(f"--output {output}: exists already; expected a new directory")
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
    config = policy.config
    Console().print(
        f"{output}: {config.obs_dim} observations, {config.action_dim} actions, "
        f"{config.denoising.sampler_steps} denoising steps"
        + (f", {config.ft_denoising_steps} fine-tuned" if config.ft_denoising_steps else "")
    )
