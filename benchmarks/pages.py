"""How benchmarks show what they found: on which machine, in the terminal, on a page."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.table import Table


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine(device: torch.device) -> str:
    """What figures were measured on."""
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}, {versions}"
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    cores = f"{usable_cores()} of {os.cpu_count()} cores"
    return f"{model}, {cores}, {torch.backends.cpu.get_cpu_capability()}, {versions}"


def busy() -> str:
    """A remark on other work on this machine; to be asked for before one's own."""
    load = os.getloadavg()[0]
    return f", busy otherwise (load {load:.0f}): only ratios count" if load > 0.5 else ""


def as_table(title: str, lines: Sequence[Sequence[str]], left: int = 3) -> Table:
    """For the terminal; the first of the lines is the head, the first `left` columns are words."""
    table = Table(title=title)
    for i, name in enumerate(lines[0]):
        table.add_column(name.replace(", ", "\n"), justify="left" if i < left else "right")
    for line in lines[1:]:
        table.add_row(*line)
    return table


def as_markdown(title: str, lines: Sequence[Sequence[str]], left: int = 3) -> str:
    """The same for a page."""
    rule = ["---"] * left + ["---:"] * (len(lines[0]) - left)
    rows = [f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:])]
    return "\n".join([f"{title}:", "", *rows])


def marks(block: str) -> tuple[str, str]:
    """The lines of a page between which a block of text is filled in."""
    return f"<!-- {block}: begin -->", f"<!-- {block}: end -->"


def fill_in(page: Path, block: str, text: str) -> None:
    """Puts `text` between the marks of a block.

    Raises:
        ValueError: The page does not have both of them.
    """
    begin, end = marks(block)
    before, has_begin, rest = page.read_text().partition(begin)
    _, has_end, after = rest.partition(end)
    if not (has_begin and has_end):
        raise ValueError(f"{page}: expected the lines {begin} and {end}")
    page.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")
