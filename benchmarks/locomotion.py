"""Gymnasium's locomotion: environment steps per second of 40 environments, Gymnasium's and ours.

Run with `make bench-locomotion` on a quiet machine. All follow the same actions, chunks of 4, from
fresh episodes, in turns, because the speed of a machine drifts:

- `gymnasium.vector`, one environment after the other (`SyncVectorEnv`) and in a process each
  (`AsyncVectorEnv`, as the authors' code steps them);
- our generic way over Gymnasium's environments (`vectorization="sync"`);
- ours, whose chunks MuJoCo simulates as a whole, on one and on two threads;
- the physics of the same steps alone: MuJoCo's `mj_step`, nothing else.

CPU seconds are those of all threads and processes. Episodes begin anew every 40 steps, which is not
measured, and end no earlier: with random actions robots fall, and one that has long lain on the
ground, with many contacts, is not what a policy is trained on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gymnasium
import mujoco
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv
from rich.console import Console

from benchmarks.pages import as_markdown, as_table, busy, fill_in, machine
from dppo_rllib.environments import make_chunked_env

NUM_ENVS, ACT_STEPS, THREADS = 40, 4, 2
EPISODE = 10  # chunks
IDS = ("Hopper-v5", "Walker2d-v5", "HalfCheetah-v5")
SYNC, ASYNC, GENERIC = "SyncVectorEnv", "AsyncVectorEnv", "generic way"
OURS, OURS_THREADED, PHYSICS = "ours", f"ours, {THREADS} threads", "physics alone"
_COLUMNS = ("task", SYNC, ASYNC, GENERIC, OURS, OURS_THREADED, PHYSICS, "times", "times async")


@dataclass
class Contestant:
    """What steps a chunk in all environments, and begins episodes.

    Attributes:
        reset: Begins all episodes.
        step: Takes chunks `[N, Ta, Da]`.
        close: Ends it.
        processes: That it has besides this one.
    """

    reset: Callable[[], Any]
    step: Callable[[np.ndarray], Any]
    close: Callable[[], Any] = lambda: None
    processes: list[int] = field(default_factory=list)

    def cpu(self) -> float:
        """CPU seconds that it has used so far, this process' included."""
        return time.process_time() + sum(map(_process_cpu, self.processes))


def _process_cpu(pid: int) -> float:
    """Of another process (Linux)."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def settings(env_id: str) -> dict[str, Any]:
    """Arguments of the environments: none ends before its time."""
    return {} if env_id.startswith("HalfCheetah") else {"terminate_when_unhealthy": False}


def of_gymnasium(env_id: str, kind: type[SyncVectorEnv] | type[AsyncVectorEnv]) -> Contestant:
    """Gymnasium's vector environments, a step at a time."""
    envs: Any = kind([lambda: gymnasium.make(env_id, **settings(env_id))] * NUM_ENVS)

    def step(chunks: np.ndarray) -> None:
        for actions in chunks.transpose(1, 0, 2):
            envs.step(actions)

    processes = [process.pid for process in envs.processes] if kind is AsyncVectorEnv else []
    return Contestant(lambda: envs.reset(seed=0), step, envs.close, processes)


def of_ours(env_id: str, vectorization: str = "auto", **kwargs: Any) -> Contestant:
    """Chunked environments."""
    envs = make_chunked_env(
        env_id,
        NUM_ENVS,
        act_steps=ACT_STEPS,
        cond_steps=1,
        vectorization=vectorization,
        env_kwargs={**settings(env_id), **kwargs},
    )
    return Contestant(lambda: envs.reset(seed=0), envs.step, envs.close)


def of_physics(env_id: str) -> Contestant:
    """`mj_step` alone, a whole action at a call, with a model for all."""
    envs: list[Any] = [gymnasium.make(env_id).unwrapped for _ in range(NUM_ENVS)]
    model, every = envs[0].model, envs[0].frame_skip

    def reset() -> None:
        for seed, env in enumerate(envs):
            env.reset(seed=seed)

    def step(chunks: np.ndarray) -> None:
        for env, chunk in zip(envs, chunks, strict=True):
            for action in chunk:
                env.data.ctrl[:] = action
                mujoco.mj_step(model, env.data, every)

    return Contestant(reset, step)


def contestants(env_id: str) -> dict[str, Contestant]:
    """All, by their columns."""
    return {
        SYNC: of_gymnasium(env_id, SyncVectorEnv),
        ASYNC: of_gymnasium(env_id, AsyncVectorEnv),
        GENERIC: of_ours(env_id, "sync"),
        OURS: of_ours(env_id),
        OURS_THREADED: of_ours(env_id, num_threads=THREADS),
        PHYSICS: of_physics(env_id),
    }


def race(env_id: str, episodes: int, rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """Medians over rounds of environment steps per CPU second and per second on the clock."""
    racing = contestants(env_id)
    shape = (EPISODE, NUM_ENVS, ACT_STEPS, *gymnasium.make(env_id).action_space.shape)
    actions = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    steps = episodes * EPISODE * NUM_ENVS * ACT_STEPS
    cpu: dict[str, list[float]] = {name: [] for name in racing}
    wall: dict[str, list[float]] = {name: [] for name in racing}
    try:
        for turn in range(rounds + 1):  # the first warms up
            for name, contestant in racing.items():
                spent = took = 0.0
                for _ in range(episodes):
                    contestant.reset()
                    start, began = contestant.cpu(), time.perf_counter()
                    for chunk in actions:
                        contestant.step(chunk)
                    took += time.perf_counter() - began
                    spent += contestant.cpu() - start
                if turn:
                    cpu[name].append(steps / spent)
                    wall[name].append(steps / took)
    finally:
        for contestant in racing.values():
            contestant.close()
    return _medians(cpu), _medians(wall)


def _medians(found: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in found.items()}


def line(env_id: str, rates: dict[str, float], ours: str) -> list[str]:
    """A line of a table; `ours` is what the last columns divide by Gymnasium's."""
    figures = [f"{rates[name]:,.0f}" for name in _COLUMNS[1:-2]]
    return [env_id, *figures, *(f"{rates[ours] / rates[name]:.1f}" for name in (SYNC, ASYNC))]


def main() -> None:
    """Prints the tables, and writes them into a page if one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="page to fill in")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=12, help="of a round, 40 steps each")
    parser.add_argument("--envs", nargs="*", default=list(IDS))
    arguments = parser.parse_args()
    where = machine(torch.device("cpu")) + busy()
    # OpenBLAS and others start threads that wait busily; nothing here multiplies matrices.
    torch.set_num_threads(1)
    by_cpu, by_clock = [list(_COLUMNS)], [list(_COLUMNS)]
    for env_id in arguments.envs:
        cpu, wall = race(env_id, arguments.episodes, arguments.rounds)
        by_cpu.append(line(env_id, cpu, OURS))
        by_clock.append(line(env_id, wall, OURS_THREADED))
    console = Console(width=max(132, Console().width))
    for unit, lines in (("CPU second", by_cpu), ("second", by_clock)):
        title = f"Environment steps per {unit}, {NUM_ENVS} environments, {where}"
        console.print(as_table(title, lines, left=1))
        if arguments.markdown is not None:
            block = f"locomotion per {unit}"
            fill_in(arguments.markdown, block, as_markdown(title, lines, left=1))


if __name__ == "__main__":
    main()
