"""`dppo data convert`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dppo_rllib.cli.errors import user_errors

if TYPE_CHECKING:
    from dppo_rllib.datasets import Demonstrations

# Names of the readers' options on the command line, where they differ.
_FLAGS = {"max_episodes": "--episodes", "filter_key": "--filter"}


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="The authors' .npz, HDF5 of Robomimic or D4RL, a directory of Minari or LeRobot "
            "(v2.0, v2.1, v3.0; also hf://user/name), or RLlib's offline Parquet; told by what is "
            "in it."
        ),
    ],
    output: Annotated[Path, typer.Option(help="New directory for the data set (LeRobot v3).")],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Take the first ones; by default all.")
    ] = None,
    fps: Annotated[
        float | None,
        typer.Option(min=0, help="Environment steps per second; Robomimic and LeRobot tell them."),
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What is done, in words; Robomimic and LeRobot tell it.")
    ] = None,
    observation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Of a dictionary (Minari, RLlib) or of D4RL's arrays: what makes the observation, "
            "e.g. --observation observations --observation infos/goal.",
        ),
    ] = None,
    normalization: Annotated[
        Path | None,
        typer.Option(help="Of .npz: the normalization.npz that turns its values back."),
    ] = None,
    episode_steps: Annotated[
        int | None,
        typer.Option(min=0, help="Of D4RL without timeouts: the time limit; 0 if there was none."),
    ] = None,
    filter_key: Annotated[
        str | None, typer.Option("--filter", help="Of Robomimic: a mask, as train or valid.")
    ] = None,
    pixels: Annotated[
        bool,
        typer.Option(
            "--pixels",
            help="Take an .npz's pictures as well; of Robomimic's, instead of objects' states.",
        ),
    ] = False,
    render: Annotated[
        bool, typer.Option("--render", help="Of Robomimic: draw pictures of its simulator states.")
    ] = False,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Height and width of drawn pictures; default 96.")
    ] = None,
) -> None:
    """Turn demonstrations of other formats into a data set for every command.

    One episode after the other is read, so that a source may be larger than
    memory. Of Robomimic's files, those of Lift, Can, Square and Transport are
    known, low_dim and image; their env_args are checked against our environments.
    """
    options = {
        "max_episodes": episodes,
        "fps": fps,
        "task": task,
        "observation": observation or None,
        "normalization": normalization,
        "episode_steps": episode_steps,
        "filter_key": filter_key,
        "pixels": pixels or None,
        "image_size": image_size,
    }
    console = Console()
    with user_errors():
        if output.exists():
            raise FileExistsError(f"--output {output}: exists already; expected a new directory")
        from dppo_rllib.datasets import write_demonstrations

        tally = _Tally()
        with _bar(console) as progress:
            bar = progress.add_task("reading", total=None)
            parts = _open(
                source, options, render, lambda text: progress.update(bar, description=text)
            )
            try:
                write_demonstrations(tally.count(parts), output)
            except ImportError as error:
                raise ValueError(str(error)) from error
    console.print(f"{tally}, in {output}", highlight=False, soft_wrap=True)


def _open(
    address: str, options: dict[str, Any], render: bool, show: Any
) -> Iterable[Demonstrations]:
    """Episodes of the source; which options fit is settled before any is read."""
    from dppo_rllib.datasets import local_dataset
    from dppo_rllib.datasets.convert.source import DRAWN, ROBOMIMIC, check_options, find_format

    if render and options["pixels"]:
        raise ValueError("--pixels --render: expected one of them; the file's pictures or new ones")
    given = {name: value for name, value in options.items() if value is not None}
    try:
        source = local_dataset(address)
        found = find_format(source)
    except ImportError as error:
        raise ValueError(str(error)) from error
    if render:
        if found is not ROBOMIMIC:
            raise ValueError(f"--render: expected {ROBOMIMIC.name}; {source} is {found.name}")
        found = DRAWN
        given["progress"] = lambda done, total: show(f"drawing, {done} of {total} frames")
    elif "image_size" in given:
        raise ValueError(f"--image-size {given['image_size']}: expected with --render only")
    check_options(found, given, source, flag)
    return found.read(source, **given)


def flag(option: str) -> str:
    """A reader's option as it is called on the command line."""
    return _FLAGS.get(option, "--" + option.replace("_", "-"))


@dataclass
class _Tally:
    """What has been converted."""

    episodes: int = 0
    frames: int = 0
    total_return: float = 0.0
    pictures: str = ""

    def count(self, parts: Iterable[Demonstrations]) -> Iterator[Demonstrations]:
        for part in parts:
            self.episodes += part.num_episodes
            self.frames += part.num_frames
            self.total_return += float(part.episode_returns.sum())
            if part.images is not None:
                height, width = part.images.shape[2:]
                cameras = ", ".join(part.camera_images)
                self.pictures = f", pictures {height} x {width} of {cameras}"
            yield part

    def __str__(self) -> str:
        mean = self.total_return / max(self.episodes, 1)
        return (
            f"{self.episodes} episodes, {self.frames:,} transitions, mean return "
            f"{mean:,.1f}{self.pictures}"
        )


def _bar(console: Console) -> Progress:
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    return Progress(*columns, console=console, transient=True)
