"""`dppo plot-trajectories`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dppo_rllib.cli.errors import user_errors

if TYPE_CHECKING:
    from dppo_rllib.checkpoints import StoragePath


def plot_trajectories(
    checkpoint: Annotated[
        str, typer.Argument(help="Policy, checkpoint, or directory of a run; a path or a URI.")
    ],
    before: Annotated[
        str | None,
        typer.Option(help="Policy to draw beside it; by default the one that a run started from."),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Trajectories of each policy.")] = 50,
    seed: Annotated[int, typer.Option(help="Of environments and noise.")] = 0,
    stochastic: Annotated[
        bool, typer.Option("--stochastic", help="With the noise that training explores with.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Picture to write: .png, .pdf or .svg.")] = Path(
        "trajectories.png"
    ),
) -> None:
    """Draw where policies go, from above, around what stands there: before and after training."""
    from rich.console import Console

    from dppo_rllib.checkpoints import find_policy, load_policy
    from dppo_rllib.checkpoints.traces import trace_episodes
    from dppo_rllib.cli.trajectory_plot import outcomes_table, plot_panels
    from dppo_rllib.environments.floor_plans import floor_plan

    with user_errors():
        if output.suffix not in (".png", ".pdf", ".svg"):
            raise ValueError(f"--output {output}: expected a name that ends in .png, .pdf or .svg")
        earlier = before or _start_of(checkpoint)
        places = {} if earlier is None else {"before": find_policy(earlier)}
        places["policy" if earlier is None else "after"] = find_policy(checkpoint)
        policies = {name: load_policy(place) for name, place in places.items()}
        plans = [floor_plan((policy.env or {}).get("id")) for policy in policies.values()]
    console = Console()
    with console.status("running episodes"):
        traces = {
            name: trace_episodes(policy, episodes, deterministic=not stochastic, seed=seed)
            for name, policy in policies.items()
        }
    plot_panels(traces, plans[-1], output)
    console.print(outcomes_table(traces, plans[-1]))
    console.print(f"{episodes} trajectories each: {output}")


def _start_of(run: str) -> StoragePath | None:
    """The policy that a run keeps, from which it started, if it is one that does."""
    from dppo_rllib.checkpoints import StoragePath
    from dppo_rllib.checkpoints.policy_checkpoint import DESCRIPTION
    from dppo_rllib.cli.plan import START

    start = StoragePath.of(run) / START
    return start if (start / DESCRIPTION).is_file() else None
