"""One-leg in MuJoCo and in MuJoCo Warp: simulated steps per second of so many worlds.

Run with `make bench-furniture` on a quiet machine. A world-step is one step of the physics of one
world; an environment step has 48. Time is that of whole environment steps, with control and
observations, while hands wave above the parts. MuJoCo has as many threads as there are cores;
MuJoCo Warp, where it is installed, has the GPU if there is one.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from benchmarks.pages import as_markdown, as_table, fill_in, machine, usable_cores
from dppo_rllib.environments.furniture.scene import PHYSICS_STEPS
from dppo_rllib.environments.furniture.simulators import MUJOCO, MUJOCO_WARP
from dppo_rllib.environments.furniture.vector_env import FurnitureVectorEnv
from dppo_rllib.environments.rotations import rows_of_matrix

BLOCK = "speed of simulators"
# More worlds than these are not tried on a CPU: they would take long and be no faster.
_MOST_ON_CPU = {MUJOCO: 1024, MUJOCO_WARP: 64}


def figure(simulator: str, worlds: int, steps: int) -> str:
    """An entry of the table."""
    on_gpu = simulator == MUJOCO_WARP and torch.cuda.is_available()
    if not on_gpu and worlds > _MOST_ON_CPU[simulator]:
        return ""
    return f"{rate(simulator, worlds, steps):,.0f}"


def rate(simulator: str, worlds: int, steps: int) -> float:
    """World-steps per second, the median over environment steps."""
    threads = min(usable_cores(), worlds) if simulator == MUJOCO else 1
    envs = FurnitureVectorEnv("one_leg", num_envs=worlds, num_threads=threads, simulator=simulator)
    envs.reset(seed=0)
    hand = envs.hand()
    actions = np.full((worlds, 10), -1.0, np.float32)
    actions[:, :3], actions[:, 3:9] = hand.position.cpu(), rows_of_matrix(hand.rotation).cpu()
    start, times = actions[:, 0].copy(), []
    for step in range(steps + 2):
        actions[:, 0] = start + 0.05 * np.sin(step / 3)
        before = time.perf_counter()
        envs.step(actions)
        times.append(time.perf_counter() - before)
    envs.close()
    return worlds * PHYSICS_STEPS / statistics.median(times[2:])


def main() -> None:
    """Prints the table, and writes it into a page if one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="page to fill in")
    parser.add_argument("--worlds", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--steps", type=int, default=10, help="of the environment, that are timed")
    arguments = parser.parse_args()
    simulators = [MUJOCO]
    if importlib.util.find_spec("mujoco_warp") is not None:
        simulators.append(MUJOCO_WARP)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    title = f"World-steps per second, one-leg, {machine(device)}"
    lines = [["worlds", *simulators]]
    for worlds in arguments.worlds:
        figures = [figure(simulator, worlds, arguments.steps) for simulator in simulators]
        lines.append([f"{worlds:,}", *figures])
    Console().print(as_table(title, lines, left=0))
    if arguments.markdown is not None:
        fill_in(arguments.markdown, BLOCK, as_markdown(title, lines, left=0))


if __name__ == "__main__":
    main()
