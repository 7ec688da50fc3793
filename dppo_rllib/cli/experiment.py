"""From a plan to results: evaluate, train, evaluate again, report."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from dppo_rllib.algorithms.by_kind import ALGORITHMS
from dppo_rllib.algorithms.memory import expected_memory
from dppo_rllib.algorithms.placement import Cluster
from dppo_rllib.checkpoints import StoragePath, load_policy, save_policy
from dppo_rllib.checkpoints.evaluation import make_env
from dppo_rllib.cli.errors import user_errors
from dppo_rllib.cli.history import FINETUNE_COLUMNS, PRETRAIN_COLUMNS, History
from dppo_rllib.cli.placement import placement_table, start_ray, warnings
from dppo_rllib.cli.plan import Plan
from dppo_rllib.cli.progress import FINETUNE_SHOWN, PRETRAIN_SHOWN, RunDisplay, duration
from dppo_rllib.cli.report import (
    evaluate_with_progress,
    num_eval_envs,
    plot_losses,
    plot_returns,
    results_table,
    settings_table,
)
from dppo_rllib.cli.run import TRIAL, Outcome, new_tuner, restored_tuner, run, shut_down
from dppo_rllib.cli.run_directory import METRICS
from dppo_rllib.cli.video import record_video
from dppo_rllib.datasets.atomic import write_text
from dppo_rllib.errors import UserError
from dppo_rllib.tasks import get_task

_INTERRUPTED = 130  # as shells number an end by Ctrl-C


def run_experiment(plan: Plan) -> None:
    """Runs a plan to its end."""
    console = Console()
    started = time.monotonic()
    console.print(settings_table(f"dppo {plan.command}", _describe(plan)))
    start_ray()
    try:
        _settle(console, plan)
        if plan.start is not None and plan.before is None:
            plan.before = _evaluate(console, plan, plan.start, "before")
            plan.save()
            console.print(results_table("Before", {"before": plan.before}))
        history = _history(plan)
        outcome = _train(console, plan, history)
    finally:
        shut_down()
    if outcome.error is not None or outcome.interrupted or outcome.checkpoint is None:
        _stopped(console, plan, outcome)
    assert outcome.checkpoint is not None
    policy = save_policy(load_policy(outcome.checkpoint), plan.directory.local / "policy")
    after = _evaluate(console, plan, policy, "after")
    _report(console, plan, history, after, time.monotonic() - started)
    plan.directory.send()
    console.print(settings_table("Files", _files(plan)))


def _settle(console: Console, plan: Plan) -> None:
    """Settles who runs where, shows it, and writes the plan down."""
    cluster = Cluster.connected()
    with user_errors():
        plan.settle(cluster)
    if plan.config is not None and plan.policy is not None:
        memory = expected_memory(plan.config, plan.policy)
        console.print(placement_table(plan.config, cluster, memory))
        waits = not plan.request.fits(cluster.free)
        on_gpu = get_task(plan.task).gpu_simulator
        for text in warnings(plan.config, cluster, memory, waits=waits, gpu_simulator=on_gpu):
            console.print(f"[yellow]{text}[/yellow]")
    with user_errors():
        plan.save()
    plan.keep_start()


def _describe(plan: Plan) -> dict[str, Any]:
    task = get_task(plan.task)
    rows: dict[str, Any] = {"task": f"{task.name} ({task.env_name}): {task.description}"}
    if plan.start is not None:
        rows["from"] = plan.start
    if config := plan.config:
        if plan.command == "finetune":
            envs = max(1, config.num_env_runners) * config.num_envs_per_env_runner
            chunks = envs * config.rollout_fragment_length
            rows["sampling"] = (
                f"{envs} environments, {chunks:,} chunks of {config.act_steps} actions an iteration"
            )
        else:
            rows["data"] = getattr(config, "dataset", None)
    rows["epochs" if plan.command == "pretrain" else "iterations"] = plan.iterations
    if plan.settings:
        rows["changed"] = ", ".join(f"{k}={v}" for k, v in plan.settings.items())
    rows |= {"evaluation": f"{plan.episodes} episodes of each kind", "seed": plan.seed}
    return rows | {"output": plan.directory}


def _history(plan: Plan) -> History:
    columns = FINETUNE_COLUMNS if plan.command == "finetune" else PRETRAIN_COLUMNS
    return History(plan.directory.local / METRICS, columns)


def _train(console: Console, plan: Plan, history: History) -> Outcome:
    unit, shown = ("iteration", FINETUNE_SHOWN)
    if plan.command == "pretrain":
        unit, shown = ("epoch", PRETRAIN_SHOWN)
    if plan.config is None:
        tuner = restored_tuner(ALGORITHMS[plan.algorithm], plan.directory.path)
    else:
        tuner = new_tuner(plan.config, plan.directory.path, plan.iterations, plan.loggers)
    with RunDisplay(console, unit, plan.iterations, shown) as display:
        return run(tuner, history, display, plan.directory)


def _stopped(console: Console, plan: Plan, outcome: Outcome) -> None:
    """Says how to go on; does not return."""
    again = f"dppo {plan.command} --resume {_short(plan.directory.path)}"
    if outcome.interrupted:
        console.print(
            f"Stopped. Go on with:\n  [bold]{again}[/bold]"
            if outcome.checkpoint is not None
            else f"Stopped before the first checkpoint; start over, or from there:\n  {again}"
        )
        raise typer.Exit(_INTERRUPTED)
    console.print(f"[red]Training failed.[/red] Once the cause is gone:\n  {again}")
    raise outcome.error or RuntimeError(f"no checkpoint in {plan.directory}")


def _evaluate(
    console: Console, plan: Plan, policy: str | Path, title: str
) -> dict[str, dict[str, float]]:
    task = get_task(plan.task)
    checkpoint = load_policy(policy)
    with user_errors():
        env = make_env(
            checkpoint,
            num_eval_envs(plan.episodes),
            env=task.env,
            env_config={**task.env_config, **plan.env_settings},
            max_episode_steps=task.max_episode_steps,
        )
    try:
        results, first = evaluate_with_progress(
            console, checkpoint, env, plan.episodes, plan.seed, title
        )
    finally:
        env.close()
    if plan.video:
        try:
            with console.status(f"recording {title}.mp4"):
                seen = record_video(
                    policy,
                    first,
                    plan.directory.local / f"{title}.mp4",
                    seed=plan.seed,
                    task=task.name,
                    env_settings=plan.env_settings,
                    tasks_from=plan.tasks_from,
                )
            console.print(seen, highlight=False, soft_wrap=True)
        except UserError as error:
            plan.video = False  # said once
            console.print(f"[yellow]{error}[/yellow]", highlight=False)
    return results


def _report(
    console: Console,
    plan: Plan,
    history: History,
    after: Mapping[str, Mapping[str, float]],
    seconds: float,
) -> None:
    columns = {"before": plan.before} if plan.before is not None else {}
    table = results_table(plan.task, {**columns, "after": after})
    steps, trained = history.last("env_steps"), history.last("seconds_total") or 0.0
    curve = plan.directory.local / "learning_curve.png"
    if plan.command == "finetune":
        before = None if plan.before is None else plan.before["stochastic"]
        plot_returns(history, before, after["stochastic"], curve)
        table.add_section()
        table.add_row("environment steps", *["" for _ in columns], f"{steps or 0:,.0f}")
    else:
        plot_losses(history, curve)
        table.add_section()
    table.add_row("training time", *["" for _ in columns], duration(trained))
    console.print(table)
    summary = {
        "command": plan.command,
        "task": plan.task,
        "start": plan.start,
        "iterations": int(history.last("iteration") or 0),
        "env_steps": None if steps is None else int(steps),
        "training_seconds": trained,
        "command_seconds": seconds,
        "before": plan.before,
        "after": after,
        "seed": plan.seed,
        "settings": plan.settings,
        "versions": {
            name: version(name) for name in ("dppo_rllib", "ray", "torch", "gymnasium", "numpy")
        },
    }
    text = json.dumps(summary, indent=2, default=str)
    write_text(plan.directory.local / "summary.json", text + "\n")


def _files(plan: Plan) -> dict[str, str]:
    output = plan.directory.path
    files = {
        "policy": output / "policy",
        "metrics": output / METRICS,
        "all metrics": output / TRIAL / "progress.csv",
        "learning curve": output / "learning_curve.png",
        "summary": output / "summary.json",
        "checkpoints": output / TRIAL,
    }
    shown = {name: _short(path) for name, path in files.items()}
    shown["TensorBoard"] = f"tensorboard --logdir {_short(output / TRIAL)}"
    videos = [n for n in ("before.mp4", "after.mp4") if (plan.directory.local / n).is_file()]
    if videos:
        shown["videos"] = ", ".join(_short(output / name) for name in videos)
    return shown


def _short(path: StoragePath) -> str:
    """Relative to the working directory where it is below it."""
    try:
        return str(Path(str(path)).relative_to(Path.cwd()))
    except ValueError:
        return str(path)
