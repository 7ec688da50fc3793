"""Demonstrations by scripted experts, for tasks that have one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name

import gymnasium
from gymnasium.envs.registration import EnvSpec

import dppo_rllib.environments.avoid
import dppo_rllib.environments.furniture
import dppo_rllib.environments.kitchen
import dppo_rllib.environments.robomimic  # noqa: F401  registers what has experts
from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.lerobot import write_demonstrations
from dppo_rllib.datasets.scripted import record_successes
from dppo_rllib.tasks.task import Task, get_task

DEFAULT_EPISODES = 200
_NUM_ENVS = 16


@dataclass(frozen=True)
class _Expert:
    """Who solves the environments of an entry point.

    Attributes:
        maker: What makes it of environments, an imperfection and the task's `expert`.
        success: What the environments' infos call an episode that is worth keeping.
        noise: That suits it.
        threads: Whether threads can share the environments' physics.
    """

    maker: str
    success: str = "success"
    noise: float = 0.05
    threads: bool = True


_EXPERTS = {
    "dppo_rllib.environments.robomimic:make_one": _Expert(
        "dppo_rllib.environments.robomimic.experts:make_expert"
    ),
    "dppo_rllib.environments.furniture:make_one": _Expert(
        "dppo_rllib.environments.furniture.experts:FurnitureExpert"
    ),
    "dppo_rllib.environments.avoid:make_one": _Expert(
        "dppo_rllib.environments.avoid.demonstrator:Demonstrator",
        success="finished",
        noise=0.3,
        threads=False,
    ),
    "dppo_rllib.environments.kitchen:make_one": _Expert(
        "dppo_rllib.environments.kitchen.expert:KitchenExpert"
    ),
}


@dataclass(frozen=True)
class Collected:
    """What has been written, and what it has cost.

    Attributes:
        frames: Of all episodes.
        attempts: Until there were as many successes.
    """

    frames: int
    attempts: int


def has_expert(task: Task) -> bool:
    """Whether a scripted expert solves the task's environment."""
    return _solved(task) is not None


def _solved(task: Task) -> tuple[EnvSpec, _Expert] | None:
    """Gymnasium's specification of the task's environment and its expert, if it has one."""
    if not isinstance(task.env, str) or task.env not in gymnasium.registry:
        return None
    spec = gymnasium.spec(task.env)
    expert = _EXPERTS.get(str(spec.entry_point))
    return (spec, expert) if expert else None


def collect_with_expert(
    task: Task | str,
    path: str | Path,
    *,
    episodes: int = DEFAULT_EPISODES,
    noise: float | None = None,
    labels: str = "executed",
    imperfection: float = 1.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Collected:
    """Lets a task's expert try until so many episodes have succeeded; writes a LeRobot data set.

    An episode is written as soon as it is known to be one of them; the data set appears whole. The
    expert itself says how long it may take, which can be longer than the task's episodes. All cores
    share the physics, unless the task's `env_config` says otherwise.

    Args:
        task: One with an expert.
        path: Directory of the new data set. Must not exist.
        episodes: To keep.
        noise: See `record_successes`; None takes what suits the expert.
        labels: See there, too.
        imperfection: Multiplies how far off the expert is, on purpose.
        seed: Of everything.
        progress: Called with attempts and successes so far.

    Returns:
        What was written, and how many attempts it took.

    Raises:
        ValueError: The task has no expert, or an argument is out of range.
        FileExistsError: `path` exists.
        UserError: The expert hardly ever succeeds.
    """
    chosen = get_task(task) if isinstance(task, str) else task
    solved = _solved(chosen)
    if solved is None:
        raise ValueError(f"task {chosen.name}: has no scripted expert")
    spec, expert = solved
    kwargs = {**spec.kwargs, **chosen.env_config, "max_episode_steps": sys.maxsize}
    if expert.threads:
        kwargs.setdefault("num_threads", os.cpu_count() or 1)
    make_envs, make_expert = resolve_name(str(spec.vector_entry_point)), resolve_name(expert.maker)
    frames = attempts = 0
    with closing(make_envs(num_envs=min(_NUM_ENVS, episodes), **kwargs)) as envs:
        successes = record_successes(
            envs,
            make_expert(envs, imperfection=imperfection, **chosen.expert),
            episodes=episodes,
            noise=expert.noise if noise is None else noise,
            labels=labels,
            success=expert.success,
            seed=seed,
            task=chosen.description,
            progress=progress,
        )

        def demonstrations() -> Iterator[Demonstrations]:
            nonlocal frames, attempts
            for success in successes:
                frames += success.demonstration.num_frames
                attempts = success.attempts
                yield success.demonstration

        write_demonstrations(demonstrations(), path)
    return Collected(frames, attempts)
