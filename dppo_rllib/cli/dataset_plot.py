"""Pictures of what a dataset holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dppo_rllib.datasets.lerobot_layout import ACTION, OBSERVATION

if TYPE_CHECKING:
    from dppo_rllib.datasets.summary import ColumnSummary, Summary

_FORMATS = (".png", ".pdf", ".svg")


def plot_summary(summary: Summary, path: Path) -> None:
    """Episode lengths and returns, and how values of each dimension are spread.

    Args:
        summary: What is drawn.
        path: PNG, PDF or SVG.

    Raises:
        ValueError: It is none of these.
        FileNotFoundError: Its directory is missing.
    """
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"{path}: expected a file that ends in one of {', '.join(_FORMATS)}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent}: is no directory, expected one for {path.name}")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    FigureCanvasAgg(figure)
    lengths, returns, states, actions = figure.subplots(2, 2).ravel()
    _histogram(lengths, summary.lengths, "steps of an episode")
    if summary.returns is None:
        returns.set_axis_off()
    else:
        _histogram(returns, summary.returns, "return of an episode")
    _boxes(states, summary.columns[OBSERVATION], "states, over their range")
    _boxes(actions, summary.columns[ACTION], "actions, over their range")
    figure.savefig(path, dpi=150)


def _histogram(axes: Any, values: np.ndarray, label: str) -> None:
    axes.hist(values, bins=min(40, max(1, len(np.unique(values)))), color="tab:blue")
    axes.set_xlabel(label)
    axes.set_ylabel("episodes")


def _boxes(axes: Any, column: ColumnSummary, label: str) -> None:
    """Quartiles of each dimension, from its least to its greatest value."""
    span = np.where(column.max > column.min, column.max - column.min, 1)
    scaled = (column.sample - column.min) / span
    values = [row[np.isfinite(row)] for row in scaled.T]
    axes.boxplot(values, whis=(1, 99), showfliers=False, widths=0.6)
    step = max(1, len(values) // 12)
    ticks = np.arange(0, len(values), step)
    names = [column.names[i] for i in ticks]
    axes.set_xticks(ticks + 1, names, rotation=60 if max(map(len, names)) > 3 else 0)
    axes.set_ylim(-0.02, 1.02)
    axes.set_title(label, fontsize="medium")
