"""`dppo finetune`."""

from __future__ import annotations

from typing import Annotated

import typer

from dppo_rllib.cli.errors import user_errors
from dppo_rllib.cli.loggers import LoggerOption
from dppo_rllib.cli.settings import SetOption


def finetune(
    task: Annotated[
        str | None, typer.Argument(help="Name of a task; not needed with --resume.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="DIR",
            help="Policy, checkpoint or run to start from, a path or a URI; default: the task's.",
        ),
    ] = None,
    algorithm: Annotated[
        str | None,
        typer.Option(
            help="DPPO, ExactDPPO, GaussianPPO or GMMPPO; default: that of the policy's kind."
        ),
    ] = None,
    settings: SetOption = None,
    iterations: Annotated[int | None, typer.Option(min=1, help="Training iterations.")] = None,
    runners: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Environment runners, 0: in the main process; default: one per core of this "
            "machine, or of the cluster that RAY_ADDRESS names; 0 with a simulator on a GPU.",
        ),
    ] = None,
    learners: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Learners, 0: in the main process; default: 1, but 0 where a simulator on a GPU "
            "is there.",
        ),
    ] = None,
    gpus_per_learner: Annotated[
        float | None,
        typer.Option(min=0, help="Of each learner; default: one if there are enough, else none."),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=2, help="Evaluation episodes of each kind, before and after; default: 40."
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything; default: 0.")] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="New directory for all that the run leaves: a path, or a URI such as "
            "s3://bucket/run; default: results/<task>-finetune-<time>.",
        ),
    ] = None,
    logger: LoggerOption = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            help="Directory of an interrupted run, to go on with it; a path or a URI.",
        ),
    ] = None,
    video: Annotated[bool, typer.Option(help="Record before.mp4 and after.mp4.")] = True,
) -> None:
    """Fine-tune a pre-trained policy (DPPO for a diffusion policy); compare it before and after."""
    from dppo_rllib.cli.experiment import run_experiment
    from dppo_rllib.cli.placement import quiet_logs
    from dppo_rllib.cli.plan import Plan, check_resume

    quiet_logs()
    with user_errors():
        if resume is not None:
            given = {
                "task": task,
                "from": start,
                "algorithm": algorithm,
                "set": settings,
                "iterations": iterations,
                "runners": runners,
                "learners": learners,
                "gpus-per-learner": gpus_per_learner,
                "episodes": episodes,
                "seed": seed,
                "output": output,
                "logger": logger,
            }
            plan = check_resume(resume, "finetune", given, video=video)
        else:
            plan = Plan.finetune(
                task,
                start=start,
                algorithm=algorithm,
                settings=settings or [],
                iterations=iterations,
                runners=runners,
                learners=learners,
                gpus_per_learner=gpus_per_learner,
                episodes=episodes or 40,
                seed=seed or 0,
                output=output,
                loggers=logger or [],
                video=video,
            )
    run_experiment(plan)
