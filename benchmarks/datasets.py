"""Training samples a second: from memory, and streamed from a dataset larger than what it may take.

Run with `make bench-datasets` on a quiet machine; that also fills in the table of `docs/data.md`.
A pass draws every sample once, in minibatches, as pre-training does; the network is left out. The
frames are noise, the pictures a room with something that moves, and files are in the page cache.
Samples are gathered by one thread; pictures are decoded by as many as there are cores.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console

from benchmarks.pages import as_markdown, as_table, fill_in, machine
from dppo_rllib.datasets import (
    ActionChunks,
    DatasetReader,
    Demonstrations,
    Samples,
    StreamedChunks,
    minibatches,
    write_demonstrations,
)
from dppo_rllib.modules.threads import torch_threads

BLOCK = "datasets"
HORIZON_STEPS, MINIBATCH = 4, 256
ROUNDS = 3
LIMITS = (1 / 4, 1 / 8)  # of the dataset's size in memory


@dataclass(frozen=True)
class Workload:
    """A dataset.

    Attributes:
        label: What it is like.
        episodes: How many it has.
        steps: Of an episode.
        dims: Do and Da.
        picture: Height and width; None has no pictures.
    """

    label: str
    episodes: int
    steps: int
    dims: tuple[int, int]
    picture: int | None = None


WORKLOADS = (
    Workload("states, 11 + 3 numbers", 2000, 500, (11, 3)),
    Workload("states, 59 + 14 numbers", 500, 700, (59, 14)),
    Workload("pictures 96 x 96, 9 + 7 numbers", 100, 120, (9, 7), 96),
)


def parts(work: Workload) -> Iterator[Demonstrations]:
    """Its episodes, of noise."""
    rng = np.random.default_rng(0)
    last = np.arange(work.steps) == work.steps - 1
    for _ in range(work.episodes):
        observations, actions = (
            rng.normal(size=(work.steps, dim)).astype(np.float32) for dim in work.dims
        )
        yield Demonstrations(
            observations=observations,
            actions=actions,
            rewards=np.zeros(work.steps, np.float32),
            terminated=np.zeros(work.steps, bool),
            truncated=last,
            episode_lengths=np.array([work.steps], np.int64),
            fps=20,
            images=None if work.picture is None else pictures(rng, work.steps, work.picture),
        )


def pictures(rng: np.random.Generator, steps: int, size: int) -> np.ndarray:
    """A room of smooth colours with some noise, and a block that moves through it."""
    ramp = np.linspace(40, 200, size)
    room = ramp[None, :, None] * 0.5 + ramp[None, None, :] * 0.5 + rng.normal(0, 2, (3, size, size))
    frames = np.repeat(room[None], steps, axis=0)
    side = size // 6
    for step, (row, column) in enumerate(rng.integers(0, size - side, (steps, 2))):
        frames[step, :, row : row + side, column : column + side] = 230
    return frames.clip(0, 255).astype(np.uint8)


def samples_per_second(samples: Samples) -> float:
    """Of a pass over all of them; the median of some."""
    rates = []
    for seed in range(ROUNDS):
        generator, count = torch.Generator().manual_seed(seed), 0
        start = time.perf_counter()
        for minibatch in minibatches(samples, MINIBATCH, generator):
            count += len(minibatch.gather(slice(None))[1])
        rates.append(count / (time.perf_counter() - start))
        assert count == len(samples)
    return statistics.median(rates)


def measure(work: Workload, folder: Path) -> list[list[str]]:
    """A line of the table for memory, and one for each limit."""
    path = write_demonstrations(parts(work), folder / str(abs(hash(work))))
    on_disk = sum(file.stat().st_size for file in path.rglob("*.parquet"))
    reader = DatasetReader(path)
    whole = reader.num_frames * reader.frame_bytes
    start = time.perf_counter()
    chunks = ActionChunks(reader.read(), None, horizon_steps=HORIZON_STEPS)
    seconds = time.perf_counter() - start
    head = [work.label, f"{whole / 1e6:,.0f} MB, {on_disk / 1e6:,.0f} on the disk"]
    rate = samples_per_second(chunks)
    lines = [[*head, f"all, read once in {seconds:.1f} s", "-", f"{rate:,.0f}"]]
    del chunks
    for share in LIMITS:
        streamed = StreamedChunks(
            reader, None, memory_limit=share * whole, horizon_steps=HORIZON_STEPS
        )
        places = f"{streamed.blocks_per_pool:.0f}"
        rate = samples_per_second(streamed)
        lines.append(["", "", f"{share * whole / 1e6:,.0f} MB", places, f"{rate:,.0f}"])
    return lines


def main(
    markdown: Annotated[Path | None, typer.Option(help="Page whose table is filled in.")] = None,
    directory: Annotated[Path | None, typer.Option(help="For the datasets; a fast disk.")] = None,
) -> None:
    """Measures, shows a table, and may put it into a page."""
    lines = [["dataset", "size", "memory", "places in a pool", "samples a second"]]
    with tempfile.TemporaryDirectory(dir=directory) as folder, torch_threads(1):
        for work in WORKLOADS:
            lines += measure(work, Path(folder))
    title = (
        f"Passes over {HORIZON_STEPS}-step chunks in minibatches of {MINIBATCH}, median of "
        f"{ROUNDS}, gathered by one thread; {machine(torch.device('cpu'))}"
    )
    Console().print(as_table(title, lines))
    if markdown is not None:
        fill_in(markdown, BLOCK, as_markdown(title, lines))


if __name__ == "__main__":
    typer.run(main)
