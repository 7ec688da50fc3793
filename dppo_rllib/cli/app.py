"""The command `dppo`.

Commands import Ray and torch when they run, not before: `--help` costs no more than
`import dppo_rllib`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dppo_rllib.cli.collect import collect
from dppo_rllib.cli.convert import convert
from dppo_rllib.cli.errors import user_errors
from dppo_rllib.cli.evaluate import evaluate
from dppo_rllib.cli.finetune import finetune
from dppo_rllib.cli.import_official import import_official
from dppo_rllib.cli.inspect_data import inspect_data
from dppo_rllib.cli.list_tasks import list_tasks
from dppo_rllib.cli.plot import plot
from dppo_rllib.cli.plot_trajectories import plot_trajectories
from dppo_rllib.cli.pretrain import pretrain
from dppo_rllib.cli.push import push
from dppo_rllib.cli.tune import tune

app = typer.Typer(
    name="dppo",
    help="Fine-tune pre-trained diffusion policies for robots with reinforcement learning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Demonstrations.", no_args_is_help=True)
app.add_typer(data, name="data")


@app.callback()
def main(
    tasks_from: Annotated[
        list[Path] | None,
        typer.Option(
            "--tasks-from",
            envvar="DPPO_TASKS_FROM",
            help="Python file that registers tasks of your own; may be repeated.",
        ),
    ] = None,
) -> None:
    """Fine-tune pre-trained diffusion policies for robots with reinforcement learning."""
    if tasks_from:
        from dppo_rllib.tasks.load import load_tasks

        with user_errors():
            for file in tasks_from:
                load_tasks(file)


app.command("tasks")(list_tasks)
app.command("pretrain")(pretrain)
app.command("finetune")(finetune)
app.command("eval")(evaluate)
app.command("tune")(tune)
app.command("plot")(plot)
app.command("plot-trajectories")(plot_trajectories)
app.command("import-official")(import_official)
data.command("collect")(collect)
data.command("convert")(convert)
data.command("inspect")(inspect_data)
data.command("push")(push)
