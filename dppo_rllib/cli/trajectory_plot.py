"""Pictures and counts of trajectories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from dppo_rllib.environments.floor_plans import FloorPlan, Trajectory

Traces = Mapping[str, Sequence[Trajectory]]


def plot_panels(traces: Traces, plan: FloorPlan, path: Path) -> None:
    """A panel for each policy, side by side; trajectories are coloured by what they come to.

    Args:
        traces: Of each policy, by its title.
        plan: What stands around.
        path: PNG, PDF or SVG.
    """
    # Without pyplot: no display, no global state.
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Circle

    colors = matplotlib.colormaps["tab10"]
    figure = Figure(figsize=(3.6 * len(traces) + 1.4, 4.8), layout="constrained")
    panels = figure.subplots(1, len(traces), squeeze=False)[0]
    seen = set()
    for panel, (title, trajectories) in zip(panels, traces.items(), strict=True):
        for trajectory in trajectories:
            outcome = plan.outcome(trajectory)
            seen.add(outcome)
            x, y = (trajectory[:, column] for column in plan.columns)
            panel.plot(x, y, color=colors(outcome), lw=0.7, alpha=0.7)
        for x, y, radius in plan.obstacles:
            panel.add_patch(Circle((x, y), radius, color="black"))
        panel.axhline(plan.line, color="grey")
        panel.set_title(title)
        panel.set_xlim(plan.corner[0], plan.opposite[0])
        panel.set_ylim(plan.corner[1], plan.opposite[1])
        panel.set_aspect("equal")
    handles = [Line2D([], [], color=colors(o), label=plan.outcomes[o]) for o in sorted(seen)]
    figure.legend(handles=handles, loc="outside right upper", fontsize="small")
    figure.savefig(path, dpi=150)


def outcomes_table(traces: Traces, plan: FloorPlan) -> Table:
    """How many trajectories of each policy come to what."""
    table = Table(title="trajectories")
    table.add_column("")
    counts = []
    for title, trajectories in traces.items():
        table.add_column(title, justify="right")
        outcomes = [plan.outcome(trajectory) for trajectory in trajectories]
        counts.append([outcomes.count(i) for i in range(len(plan.outcomes))])
    for name, row in zip(plan.outcomes, zip(*counts, strict=True), strict=True):
        if any(row):
            table.add_row(name, *[f"{n} of {sum(c)}" for n, c in zip(row, counts, strict=True)])
    return table
