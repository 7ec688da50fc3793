"""What `docs/scaling.md` says of clusters: measured constants, and predictions from them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.pages import as_markdown
from benchmarks.scaling_model import Cluster, Costs, Driver, Layout, Share, efficiency, predict
from benchmarks.workloads import WORKLOADS, Workload, exchanged_bytes

CONSTANTS = Path(__file__).with_name("scaling_constants.json")


@dataclass(frozen=True)
class Constants:
    """What was measured, and on which machine.

    Attributes:
        machine: In words.
        quiet: Nothing else was running.
        driver: Of the driver.
        costs: By the name of a workload.
    """

    machine: str
    quiet: bool
    driver: Driver
    costs: dict[str, Costs]

    def save(self, path: Path = CONSTANTS) -> None:
        """Writes them down, seconds with four digits."""
        kept = json.loads(json.dumps(asdict(self)), parse_float=lambda s: float(f"{float(s):.4g}"))
        path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path = CONSTANTS) -> Constants:
        """Inverse of `save`."""
        values: dict[str, Any] = json.loads(path.read_text())
        costs = {name: Costs(**cost) for name, cost in values["costs"].items()}
        return cls(values["machine"], values["quiet"], Driver(**values["driver"]), costs)


RUNNERS = (1, 8, 64, 512)
LEARNERS = (Layout(1), Layout(1, speed=100), Layout(1, learners=4, speed=100))

Lines = list[list[str]]


def figure(value: float) -> str:
    """Three digits, never as a power of ten."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.10f}".rstrip("0").rstrip(".")


def workload_lines() -> Lines:
    """Settings, all of them the authors'."""
    head = ["task", "environments", "chunk steps", "pairs", "minibatch", "epochs", "updates"]
    lines = [head]
    for work in WORKLOADS:
        pairs = work.rows * work.policy.ft_denoising_steps
        updates = work.epochs * (pairs // work.minibatch)
        counts = (work.envs, work.rows, pairs, work.minibatch, work.epochs, updates)
        lines.append([work.name, *(f"{count:,}" for count in counts)])
    return lines


def byte_lines() -> Lines:
    """What travels in an iteration."""
    head = ["task", "B a chunk step", "trajectories, MB", "weights, MB a machine"]
    lines = [[*head, "gradients, MB a minibatch", "among learners, MB an iteration"]]
    for work in WORKLOADS:
        sizes = work.sizes
        megabytes = (
            sizes.trajectories(work.envs, work.chunk_steps, work.rows / work.episode),
            *(sizes.weights, sizes.gradients),
            exchanged_bytes(work.envs, work.chunk_steps),
        )
        row = [work.name, f"{sizes.chunk_step:,}", *(figure(size / 1e6) for size in megabytes)]
        lines.append(row)
    return lines


def constant_lines(constants: Constants) -> Lines:
    """Seconds of one thread, in milliseconds."""
    head = ["task", "simulation, a chunk", "policy, a call", "policy, a chunk more"]
    lines = [[*head, "preparation, a chunk step", "update, a pair", "optimizer, a step"]]
    for work in WORKLOADS:
        cost = constants.costs[work.name]
        seconds = (cost.env_seconds(work), cost.call, cost.chunk, cost.row, cost.pair, cost.step)
        shown = [figure(1e3 * s) for s in seconds]
        shown[0] += "" if work.simulator is None else f" ({work.simulator:g} steps/s)"
        lines.append([work.name, *shown])
    return lines


def prediction_lines(workload: Workload, constants: Constants) -> Lines:
    """Seconds of every stage, for every number of runners and kind of learners."""
    lines: Lines = []
    costs, driver = constants.costs[workload.name], constants.driver
    for kind in LEARNERS:
        layouts = [Layout(runners, kind.learners, kind.speed) for runners in RUNNERS]
        found = [predict(workload, costs, driver, layout, Cluster()) for layout in layouts]
        for layout, iteration in zip(layouts, found, strict=True):
            share = Share.of(workload, layout)
            seconds = (*iteration.stages.values(), iteration.seconds)
            lines.append(
                [kind.words, f"{layout.runners}", f"{share.envs:,} × {share.chunk_steps:,}"]
                + [figure(iteration.sent / 1e6), *map(figure, seconds)]
                + [f"{100 * efficiency(found[0], iteration, layout.runners):.3g} %"]
                + [iteration.bottleneck]
            )
    head = ["learners", "runners", "each", "MB sent", *found[0].stages]
    return [[*head, "iteration", "efficiency", "first bottleneck"], *lines]


def tables(constants: Constants) -> dict[str, tuple[Lines, int]]:
    """Titles, lines and how many of their columns are words."""
    found = {
        "Settings of an iteration, from the authors' configurations": (workload_lines(), 1),
        "Bytes of an iteration": (byte_lines(), 1),
        "Milliseconds of one thread": (constant_lines(constants), 1),
    }
    for work in WORKLOADS:
        found[f"{work.name}, seconds of an iteration"] = (prediction_lines(work, constants), 1)
    return found


def as_page(constants: Constants) -> str:
    """All tables, and what they rest on."""
    driver = constants.driver
    quiet = "" if constants.quiet else " **The machine was not quiet: provisional figures.**"
    note = (
        f"Constants measured on {constants.machine}.{quiet} The driver takes "
        f"{figure(1e3 * driver.iteration)} ms an iteration and {figure(1e3 * driver.runner)} ms a "
        "runner."
    )
    texts = [as_markdown(title, lines, left) for title, (lines, left) in tables(constants).items()]
    return "\n\n".join([note, *texts])
