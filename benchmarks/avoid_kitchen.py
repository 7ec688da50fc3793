"""Avoid and Franka Kitchen: environment steps per CPU second.

Run with `make bench-avoid-kitchen` on a quiet machine, on one core. Kitchen is compared with
gymnasium-robotics' environment and with MuJoCo's physics alone, in turns and along the same
wandering actions; there is nothing to compare Avoid with that could be installed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mujoco
import numpy as np
import torch
from rich.console import Console

from benchmarks.pages import as_markdown, as_table, fill_in, machine
from benchmarks.timing import Work, rates
from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.avoid.demonstrator import Demonstrator
from dppo_rllib.environments.avoid.vector_env import MUJOCO, PLANAR, AvoidVectorEnv
from dppo_rllib.environments.kitchen.scene import PHYSICS_STEPS, Kitchens
from dppo_rllib.tasks import get_task

KITCHEN_ENVS = 10
# Simulator, tables, and episodes of all of them in a round.
AVOID = ((PLANAR, 50, 20), (PLANAR, 1000, 1), (MUJOCO, 50, 1))
CHUNK = 4


def wandering(steps: int, num: int) -> np.ndarray:
    """Actions that keep their direction for a while, `[steps, num, 9]`."""
    generator, action, actions = np.random.default_rng(0), np.zeros((num, 9)), []
    for _ in range(steps):
        action = 0.9 * action + 0.2 * generator.normal(size=action.shape)
        actions.append(action.clip(-1, 1))
    return np.array(actions, np.float32)


def gymnasium_robotics() -> Work:
    """Steps gymnasium-robotics' own environment."""
    from gymnasium_robotics.envs.franka_kitchen.kitchen_env import KitchenEnv

    subtasks = get_task("kitchen-complete").env_config["subtasks"]
    env = KitchenEnv(tasks_to_complete=list(subtasks))

    def work(steps: int) -> int:
        env.reset(seed=0)
        for action in wandering(steps, 1)[:, 0]:
            env.step(action)
        return steps

    return work


def kitchens() -> Work:
    """Steps our copies in chunks; so many each."""
    env = make_chunked_env("dppo_rllib/Kitchen-v0", KITCHEN_ENVS, act_steps=CHUNK, cond_steps=1)

    def work(steps: int) -> int:
        env.reset(seed=0)
        chunks = wandering(steps, KITCHEN_ENVS).reshape(-1, CHUNK, KITCHEN_ENVS, 9)
        for chunk in chunks.transpose(0, 2, 1, 3):
            env.step(chunk)
        return steps * KITCHEN_ENVS

    return work


def physics() -> Work:
    """Steps MuJoCo alone, towards the same positions as ours."""
    kitchen = Kitchens(1)
    data = kitchen.datas[0]

    def work(steps: int) -> int:
        kitchen.start(np.array([0]))
        for action in wandering(steps, 1)[:, 0]:
            data.ctrl[:] = data.qpos[:9] + 2.0 * kitchen.seconds * action
            mujoco.mj_step(kitchen.model, data, nstep=PHYSICS_STEPS)
        return steps

    return work


def tables(simulator: str, num: int) -> Work:
    """Steps so many of Avoid's tables in chunks, along demonstrations."""
    env = AvoidVectorEnv(num)
    env.reset(seed=0)
    expert, rows = Demonstrator(env), np.arange(num)
    expert.begin(rows, [np.random.default_rng(row) for row in range(num)])
    changes = []
    for _ in range(100):
        changes.append(expert.act(rows).astype(np.float32))
        env.step(changes[-1])
    chunks = np.array(changes).reshape(-1, CHUNK, num, 2).transpose(0, 2, 1, 3) / 0.01
    together = make_chunked_env(
        "dppo_rllib/Avoid-v0",
        num,
        act_steps=CHUNK,
        cond_steps=1,
        env_kwargs={"simulator": simulator},
    )

    def work(episodes: int) -> int:
        for _ in range(episodes):
            together.reset(seed=0)
            for chunk in chunks:
                together.step(chunk)
        return 100 * num * episodes

    return work


def main() -> None:
    """Prints the tables, and writes them into their pages if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--markdown", type=Path, help="directory of avoid.md and kitchen.md")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=80, help="of a round and kitchen")
    arguments = parser.parse_args()
    console, where = Console(), machine(torch.device("cpu"))
    works = [(gymnasium_robotics(), arguments.steps), (kitchens(), arguments.steps // 4)]
    theirs, ours, floor = rates([*works, (physics(), arguments.steps)], arguments.rounds)
    kitchen = [["gymnasium-robotics", "ours", "times", "physics alone"]]
    kitchen.append([f"{theirs:,.0f}", f"{ours:,.0f}", f"{ours / theirs:.2f}", f"{floor:,.0f}"])
    speeds = rates([(tables(name, num), times) for name, num, times in AVOID], arguments.rounds)
    avoid = [["simulator", "tables", "steps per CPU second"]]
    for (name, num, _), speed in zip(AVOID, speeds, strict=True):
        avoid.append([name, str(num), f"{speed:,.0f}"])
    for name, lines, left in (("kitchen", kitchen, 0), ("avoid", avoid, 1)):
        title = f"Environment steps per CPU second, {where}"
        console.print(as_table(title, lines, left=left))
        if arguments.markdown is not None:
            page = arguments.markdown / f"{name}.md"
            fill_in(page, "speed", as_markdown(title, lines, left=left))


if __name__ == "__main__":
    main()
