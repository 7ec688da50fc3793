"""The Robomimic tasks: environment steps per CPU second, robosuite's environment against ours.

Run with `make bench-robomimic` on a quiet machine. Both are measured in turns, because the speed of
a machine drifts, on one core and along the same wandering actions from fresh episodes. Beside them
stands the floor: MuJoCo's physics alone, from the states that such actions lead to and with the
torques of that moment, so that no arm falls and lies in contacts that the others do not have. From
pixels, robosuite draws its pictures with its own renderer in every step; ours are drawn where a
policy sees them, at the end of a chunk.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import mujoco
import numpy as np
import torch
from rich.console import Console

from benchmarks.pages import as_markdown, as_table, busy, fill_in, machine
from benchmarks.timing import rates
from dppo_rllib.environments import ChunkedVectorEnv, make_chunked_env
from dppo_rllib.environments.robomimic.manipulation import MANIPULATIONS, Manipulation
from dppo_rllib.environments.robomimic.scene import Scene
from dppo_rllib.environments.robomimic.simulation import Simulation

NUM_ENVS = 10
STATES, PIXELS = "states", "pixels"
EPISODE = 200  # control steps that the floor is measured along
_MOMENT = ("qpos", "qvel", "ctrl", "qacc_warmstart")
_COLUMNS = ("task", "robosuite", "ours", "times", "physics alone")


def wandering(dim: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Actions that keep their direction for a while, for ever."""
    generator, action = np.random.default_rng(seed), np.zeros((NUM_ENVS, dim))
    while True:
        action = 0.9 * action + 0.2 * generator.normal(size=action.shape)
        yield action.clip(-1, 1).astype(np.float32)


def robosuites(task: Manipulation, *, pixels: bool) -> Callable[[int], int]:
    """Steps robosuite's own environment."""
    env, actions = Scene(task.robosuite_name, task.robots).env, wandering(task.action_dim)
    if pixels:
        from robosuite.utils.binding_utils import MjRenderContextOffscreen

        MjRenderContextOffscreen(env.sim, device_id=-1)
        options = env.sim._render_context_offscreen.vopt
        options.geomgroup[0], options.geomgroup[1] = 0, 1

    def work(steps: int) -> int:
        env.reset()
        for _ in range(steps):
            env.step(next(actions)[0])
            for name in task.cameras if pixels else ():
                env.sim.render(width=96, height=96, camera_name=name)
        return steps

    return work


def ours(task: Manipulation, *, pixels: bool) -> Callable[[int], int]:
    """Steps our copies in chunks; so many each."""
    name = f"dppo_rllib/{task.name.capitalize()}{'Pixels' if pixels else ''}-v0"
    act_steps = 8 if task.name == "transport" else 4
    env: ChunkedVectorEnv = make_chunked_env(name, NUM_ENVS, act_steps=act_steps, cond_steps=1)
    actions = wandering(task.action_dim)

    def work(steps: int) -> int:
        env.reset()
        total = 0
        for _ in range(max(1, steps // act_steps)):
            chunk = np.stack([next(actions) for _ in range(act_steps)], axis=1)
            total += int(env.step(chunk)[4]["env_steps"].sum())
        return total

    return work


def physics(task: Manipulation) -> Callable[[int], int]:
    """Steps MuJoCo without control, each time from the next moment of a controlled episode."""
    scene = Scene(task.robosuite_name, task.robots)
    simulation, data = Simulation(scene, 1), mujoco.MjData(scene.model)
    controlled = simulation.datas[0]
    simulation.start(0, np.random.default_rng(0))
    moments = []
    for action in itertools.islice(wandering(task.action_dim), EPISODE):
        simulation.step(np.array([0]), action[:1])
        moments.append([getattr(controlled, name).copy() for name in _MOMENT])

    def work(steps: int) -> int:
        for moment in itertools.islice(itertools.cycle(moments), steps):
            for name, values in zip(_MOMENT, moment, strict=True):
                getattr(data, name)[:] = values
            mujoco.mj_step(scene.model, data, scene.physics_steps)
        return steps

    return work


def row(task: Manipulation, *, pixels: bool, rounds: int, steps: int) -> list[str]:
    """A line of the table."""
    steps = max(steps // (10 if pixels else 1), 8)
    works = [(robosuites(task, pixels=pixels), steps), (ours(task, pixels=pixels), steps)]
    works.append((physics(task), steps))
    theirs, mine, floor = rates(works, rounds)
    figures = [f"{theirs:,.0f}", f"{mine:,.0f}", f"{mine / theirs:.1f}", f"{floor:,.0f}"]
    return [task.name, *figures]


def main() -> None:
    """Prints the tables, and writes them into a page if one is given."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="page to fill in")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="of a round and copy, from states")
    parser.add_argument("--tasks", nargs="*", default=list(MANIPULATIONS))
    parser.add_argument("--only", choices=(STATES, PIXELS))
    arguments = parser.parse_args()
    console = Console()
    where = machine(torch.device("cpu")) + busy()
    for kind in (STATES, PIXELS) if arguments.only is None else (arguments.only,):
        title = f"Environment steps per CPU second, from {kind}, {where}"
        lines = [list(_COLUMNS)]
        for name in arguments.tasks:
            task = MANIPULATIONS[name]
            lines.append(
                row(task, pixels=kind == PIXELS, rounds=arguments.rounds, steps=arguments.steps)
            )
        console.print(as_table(title, lines, left=1))
        if arguments.markdown is not None:
            fill_in(arguments.markdown, f"speed from {kind}", as_markdown(title, lines, left=1))


if __name__ == "__main__":
    main()
