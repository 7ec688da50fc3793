"""`dppo data import`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from dppo_rllib.cli.errors import user_errors

if TYPE_CHECKING:
    from dppo_rllib.datasets import Demonstrations

_HDF5 = (".hdf5", ".h5")


def import_data(
    file: Annotated[
        Path, typer.Argument(help="Robomimic's .hdf5, or an .npz of the DPPO authors' layout.")
    ],
    output: Annotated[Path, typer.Option(help="New directory for the data set (LeRobot v3).")],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Take the first ones; by default all.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="What is done, in words; Robomimic's files tell it.")
    ] = None,
    filter_key: Annotated[
        str | None, typer.Option("--filter", help="Of .hdf5: a mask, as train or valid.")
    ] = None,
    pixels: Annotated[
        bool, typer.Option("--pixels", help="Of .hdf5: take its pictures, not objects' states.")
    ] = False,
    render: Annotated[
        bool, typer.Option("--render", help="Of .hdf5: draw pictures of its simulator states.")
    ] = False,
    image_size: Annotated[
        int | None, typer.Option(min=1, help="Height and width of drawn pictures; default 96.")
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0, help="Of .npz: environment steps per second.")
    ] = None,
    normalization: Annotated[
        Path | None,
        typer.Option(help="Of .npz: the normalization.npz that turns its values back."),
    ] = None,
) -> None:
    """Turn demonstrations of other formats into a data set for every command.

    Of Robomimic's files, those of Lift, Can, Square and Transport, low_dim and
    image, ph and mh, are known; what their env_args tell is checked against
    our environments.
    """
    hdf5 = {
        "--filter": filter_key,
        "--pixels": pixels or None,
        "--render": render or None,
        "--image-size": image_size,
    }
    npz = {"--fps": fps, "--normalization": normalization}
    with user_errors():
        if output.exists():
            raise FileExistsError(f"--output {output}: exists already; expected a new directory")
        suffix = file.suffix.lower()
        if suffix in _HDF5:
            _refuse(npz, f"expected with an .npz only, not with {file}")
            imported = _robomimic(
                file, task, filter_key, episodes, pixels=pixels, render=render, size=image_size
            )
        elif suffix == ".npz":
            _refuse(hdf5, f"expected with an .hdf5 only, not with {file}")
            imported = _official(file, task, fps, normalization, episodes)
        else:
            raise ValueError(f"{file}: expected a file that ends in .hdf5, .h5 or .npz")
        from dppo_rllib.datasets import write_demonstrations

        write_demonstrations(imported, output)
    pictures = ""
    if imported.images is not None:
        height, width = imported.images.shape[2:]
        pictures = f", pictures {height} x {width} of {', '.join(imported.camera_images)}"
    Console().print(
        f"{imported.num_episodes} episodes, {imported.num_frames:,} transitions, mean return "
        f"{imported.episode_returns.mean():,.1f}{pictures}, in {output}",
        highlight=False,
        soft_wrap=True,
    )


def _refuse(options: dict[str, Any], why: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise ValueError(f"{name}: {why}")


def _robomimic(
    file: Path,
    task: str | None,
    filter_key: str | None,
    episodes: int | None,
    *,
    pixels: bool,
    render: bool,
    size: int | None,
) -> Demonstrations:
    from dppo_rllib.datasets.convert import read_robomimic_hdf5, render_robomimic_hdf5

    if pixels and render:
        raise ValueError("--pixels --render: expected one of them; the file's pictures or new ones")
    if size is not None and not render:
        raise ValueError(f"--image-size {size}: expected with --render only")
    chosen: dict[str, Any] = {"task": task, "filter_key": filter_key, "max_episodes": episodes}
    try:
        if not render:
            return read_robomimic_hdf5(file, pixels=pixels, **chosen)
        with _bar() as progress:
            bar = progress.add_task("drawing", total=None)
            return render_robomimic_hdf5(
                file,
                image_size=size or 96,
                progress=lambda done, total: progress.update(bar, completed=done, total=total),
                **chosen,
            )
    except (ImportError, RuntimeError) as error:
        # What must be installed, or OpenGL that does not work here.
        raise ValueError(str(error)) from error


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total} frames"),
        TimeRemainingColumn(),
    )


def _official(
    file: Path,
    task: str | None,
    fps: float | None,
    normalization: Path | None,
    episodes: int | None,
) -> Demonstrations:
    from dppo_rllib.datasets.convert import read_official_npz

    if fps is None:
        raise ValueError(f"--fps: missing; {file} does not tell the environment's steps per second")
    read = read_official_npz(file, fps=fps, task=task or "", normalization_path=normalization)
    return read if episodes is None else read.select(range(min(episodes, read.num_episodes)))
