"""The link to IsaacGym's sidecar: exchanges per second without a simulator behind it.

Run with `python -m benchmarks.isaac_link` on a quiet machine, with `--python` for a Python 3.8 (it
needs NumPy alone). An exchange sends an action of 10 numbers to each copy of one_leg and gets 56
numbers, reward and success of each back, copied into the shared memory by the sidecar. Beside it
stands the vector environment over it, which makes states of 58 numbers of them. Two processes take
turns, so figures are of the wall clock: of short turns the fastest, because other processes of the
machine only ever add to them, and the median.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks import isaac_still
from benchmarks.pages import as_markdown, as_table, fill_in, machine
from dppo_rllib.environments.furniture.isaac.vector_env import IsaacVectorEnv

_COLUMNS = (
    "copies",
    "link, fastest",
    "link, median",
    "environment, fastest",
    "environment, median",
)
_CALLS = 25  # of a turn


def rates(work: Callable[[], object], turns: int) -> list[str]:
    """Calls per second, in the fastest turn and in the median one."""
    found = []
    for _ in range(turns):
        start = time.perf_counter()
        for _ in range(_CALLS):
            work()
        found.append(_CALLS / (time.perf_counter() - start))
    return [f"{rate:,.0f}" for rate in (max(found), statistics.median(found))]


def row(copies: int, python: str, turns: int) -> list[str]:
    """A line of the table."""
    envs = IsaacVectorEnv(
        "one_leg",
        "low",
        copies,
        max_episode_steps=sys.maxsize,
        python=python,
        environment=f"{Path(isaac_still.__file__).resolve()}:Still",
    )
    try:
        envs.reset()
        actions = np.zeros((copies, 10), np.float32)
        link = rates(lambda: envs.client.step(actions), turns)
        return [f"{copies:,}", *link, *rates(lambda: envs.step(actions), turns)]
    finally:
        envs.close()


def versions(python: str) -> str:
    """Of a Python and its NumPy."""
    code = "import platform, numpy; print(platform.python_version(), 'NumPy', numpy.__version__)"
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return said.stdout.strip()


def main() -> None:
    """Prints the table, and writes it into a page if one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="page to fill in")
    parser.add_argument("--python", default=sys.executable, help="of the sidecar")
    parser.add_argument("--copies", nargs="*", type=int, default=[1, 100, 1000, 4096])
    parser.add_argument("--turns", type=int, default=500)
    arguments = parser.parse_args()
    where = machine(torch.device("cpu"))
    title = (
        f"Exchanges and steps per second, sidecar in Python {versions(arguments.python)}, {where}"
    )
    lines = [list(_COLUMNS)]
    lines += [row(copies, arguments.python, arguments.turns) for copies in arguments.copies]
    Console().print(as_table(title, lines, left=0))
    if arguments.markdown is not None:
        fill_in(arguments.markdown, "link", as_markdown(title, lines, left=0))


if __name__ == "__main__":
    main()
