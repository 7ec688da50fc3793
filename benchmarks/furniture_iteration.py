"""An iteration of DPPO on one-leg: what stays on the GPU against what goes through the host.

Run with `make bench-furniture-iteration` on a machine with a GPU: 1,000 copies in MuJoCo Warp, 88
chunks of each, the paper's U-Net with random weights. A runner in the learner's process leaves
observations and chains where they are; one in a process of its own copies them to the host, through
Ray's memory, and back. Figures are medians over iterations, after one to warm up.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from ray.rllib.utils.metrics import ENV_RUNNER_SAMPLING_TIMER, LEARNER_UPDATE_TIMER, TIMERS
from rich.console import Console

from benchmarks.pages import as_markdown, as_table, fill_in, machine
from dppo_rllib import DPPOConfig
from dppo_rllib.cli.placement import quiet_logs, start_ray
from dppo_rllib.environments.furniture.simulators import MUJOCO_WARP, SIMULATORS
from dppo_rllib.tasks import get_task

BLOCK = "time of an iteration"
TASK = "one-leg-low-unet"
# Of an L40, as the paper says.
_PAPERS = "148 s"
_RUNNERS = {0: "in the learner's process", 1: "in a process of its own"}


def configuration(runners: int, simulator: str, envs: int, chunks: int) -> DPPOConfig:
    """The task's, with random weights; runner and learner share a GPU if there is one."""
    task, gpus = get_task(TASK), torch.cuda.device_count() > 0
    config: DPPOConfig = DPPOConfig()
    config.environment(task.env, env_config={"simulator": simulator})
    config.env_runners(
        num_env_runners=runners,
        num_envs_per_env_runner=envs,
        rollout_fragment_length=chunks,
        num_gpus_per_env_runner=0.4 * gpus * runners,
    )
    config.learners(num_learners=0, num_gpus_per_learner=(1 - 0.4 * runners) * gpus)
    config.training(max_episode_steps=task.max_episode_steps, **task.settings["DPPO"])
    return config.debugging(seed=0)


def seconds(config: DPPOConfig, iterations: int) -> tuple[float, float]:
    """Medians of sampling and of learning."""
    algorithm: Any = config.build_algo()
    found = []
    for _ in range(iterations + 1):
        timers = algorithm.train()[TIMERS]
        found.append((timers[ENV_RUNNER_SAMPLING_TIMER], timers[LEARNER_UPDATE_TIMER]))
    algorithm.stop()
    sampling, learning = (statistics.median(column) for column in zip(*found[1:], strict=True))
    return sampling, learning


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table, and writes it into a page if one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="page to fill in")
    parser.add_argument("--simulator", choices=SIMULATORS, default=MUJOCO_WARP)
    parser.add_argument("--envs", type=int, default=1000)
    parser.add_argument("--chunks", type=int, default=88)
    parser.add_argument("--iterations", type=int, default=3)
    chosen = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    quiet_logs()
    start_ray()
    lines = [["runner", "sampling", "learning", "both", "the paper's"]]
    for runners, where in _RUNNERS.items():
        config = configuration(runners, chosen.simulator, chosen.envs, chosen.chunks)
        sampling, learning = seconds(config, chosen.iterations)
        figures = [f"{value:.1f} s" for value in (sampling, learning, sampling + learning)]
        lines.append([where, *figures, _PAPERS])
    ray.shutdown()
    title = (
        f"{TASK} in {chosen.simulator}, {chosen.envs:,} copies, {chosen.chunks} chunks, "
        f"{machine(device)}"
    )
    Console().print(as_table(title, lines, left=1))
    if chosen.markdown is not None:
        fill_in(chosen.markdown, BLOCK, as_markdown(title, lines, left=1))


if __name__ == "__main__":
    main()
