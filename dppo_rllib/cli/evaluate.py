"""`dppo eval`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from dppo_rllib.cli.errors import user_errors
from dppo_rllib.errors import UserError


def evaluate(
    checkpoint: Annotated[
        str, typer.Argument(help="Policy, checkpoint, or directory of a run; a path or a URI.")
    ],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of each kind.")] = 50,
    seed: Annotated[int, typer.Option(help="Of environments and noise.")] = 0,
    task: Annotated[
        str | None, typer.Option(help="Task whose environment to use instead of its own.")
    ] = None,
    env: Annotated[
        str | None, typer.Option(help="Gymnasium id to use instead of its own environment.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="Record the first of the greedy episodes (.mp4).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the results to this file.")
    ] = None,
) -> None:
    """Evaluate a policy: greedily, and with the noise that training explores with."""
    from dppo_rllib.checkpoints import load_policy
    from dppo_rllib.checkpoints.evaluation import make_env
    from dppo_rllib.checkpoints.find import find_policy
    from dppo_rllib.cli.report import evaluate_with_progress, num_eval_envs, results_table
    from dppo_rllib.cli.video import record_video
    from dppo_rllib.datasets.atomic import write_text
    from dppo_rllib.tasks import get_task, missing_requirements, task_names
    from dppo_rllib.tasks.load import loaded_files

    console = Console()
    with user_errors():
        if task is not None and env is not None:
            raise ValueError("--task and --env: expected one of them")
        if video is not None and video.suffix != ".mp4":
            raise ValueError(f"--video {video}: expected a file name that ends in .mp4")
        path = find_policy(checkpoint)
        policy = load_policy(path)
        overrides: dict[str, Any] = {} if env is None else {"env": env}
        if env is None and task is None and policy.env is None and policy.task in task_names():
            task = policy.task
        if task is not None:
            chosen = get_task(task)
            if missing := missing_requirements(chosen):
                raise ValueError(f"task {task}: install first: {'; '.join(missing)}")
            overrides = {
                "env": chosen.env,
                "env_config": chosen.env_config,
                "max_episode_steps": chosen.max_episode_steps,
            }
        envs = make_env(policy, num_eval_envs(episodes), **overrides)
    try:
        results, first = evaluate_with_progress(console, policy, envs, episodes, seed, "evaluating")
    finally:
        envs.close()
    console.print(results_table(str(path), {"policy": results}))
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        values = {"checkpoint": str(path), "task": policy.task, "seed": seed, **results}
        write_text(json_file, json.dumps(values, indent=2) + "\n")
    if video is not None:
        video.parent.mkdir(parents=True, exist_ok=True)
        with user_errors(UserError), console.status(f"recording {video}"):
            files = [str(file) for file in loaded_files()]
            seen = record_video(path, first, video, seed=seed, task=task, env=env, tasks_from=files)
        console.print(seen, highlight=False, soft_wrap=True)
