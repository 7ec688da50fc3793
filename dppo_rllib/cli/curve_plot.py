"""Pictures of learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dppo_rllib.cli.report import new_axes
from dppo_rllib.sweeps.curves import Mean

_NAMED = 10  # lines that a legend names; more are shaded by where they end


def plot_means(curves: Mapping[str, Mean], *, x_label: str, y_label: str, path: Path) -> None:
    """Means over seeds with their intervals; many curves are coloured by how they end.

    Args:
        curves: By their name in the legend, best first.
        x_label: What they are drawn along.
        y_label: What is drawn.
        path: PNG, PDF or SVG.
    """
    axes, figure = new_axes()
    for (name, curve), color in zip(curves.items(), _colors(len(curves)), strict=True):
        label = f"{name} ({curve.count} seeds)" if curve.count > 1 else name
        axes.plot(curve.x, curve.mean, label=label, color=color, lw=1.5)
        if curve.count > 1:
            low, high = curve.mean - curve.half_width, curve.mean + curve.half_width
            axes.fill_between(curve.x, low, high, alpha=0.2, color=color, lw=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[:_NAMED], labels[:_NAMED], fontsize="small")
    figure.savefig(path, dpi=150)


def _colors(count: int) -> Sequence[Any]:
    import matplotlib

    if count <= _NAMED:
        return [matplotlib.colormaps["tab10"](i) for i in range(count)]
    return [matplotlib.colormaps["viridis"](1 - i / (count - 1)) for i in range(count)]
