"""Demonstrations by scripted experts, for tasks that have one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gymnasium
from gymnasium.envs.registration import EnvSpec

import dppo_rllib.environments.robomimic  # noqa: F401  registers what has experts
from dppo_rllib.datasets.lerobot import write_demonstrations
from dppo_rllib.datasets.scripted import Recording, record_successes
from dppo_rllib.tasks.task import Task, get_task

# Of `dppo_rllib.environments.robomimic.experts`, which needs a simulator.
EXPERT_TASKS = ("can", "lift", "square")
_ENTRY_POINT = "dppo_rllib.environments.robomimic:make_one"
DEFAULT_EPISODES, DEFAULT_NOISE, DEFAULT_IMPERFECTION = 200, 0.05, 1.0
_NUM_ENVS = 16


def has_expert(task: Task) -> bool:
    """Whether a scripted expert solves the task's environment."""
    return _solved_spec(task) is not None


def _solved_spec(task: Task) -> EnvSpec | None:
    """Gymnasium's of the task's environment, if an expert solves it."""
    if not isinstance(task.env, str) or task.env not in gymnasium.registry:
        return None
    spec = gymnasium.spec(task.env)
    solved = spec.entry_point == _ENTRY_POINT and spec.kwargs["task"] in EXPERT_TASKS
    return spec if solved else None


def collect_with_expert(
    task: Task | str,
    path: str | Path,
    *,
    episodes: int = DEFAULT_EPISODES,
    noise: float = DEFAULT_NOISE,
    imperfection: float = DEFAULT_IMPERFECTION,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Recording:
    """Lets a task's expert try until so many episodes have succeeded; writes a LeRobot data set.

    Args:
        task: One with an expert.
        path: Directory of the new data set. Must not exist.
        episodes: To keep.
        noise: See `record_successes`.
        imperfection: Multiplies how far off the expert grasps and lays down.
        seed: Of everything.
        progress: Called with attempts and successes so far.

    Returns:
        What was written, and how many attempts it took.

    Raises:
        ValueError: The task has no expert, or an argument is out of range.
        FileExistsError: `path` exists.
        RuntimeError: The expert hardly ever succeeds.
    """
    chosen = get_task(task) if isinstance(task, str) else task
    spec = _solved_spec(chosen)
    if spec is None:
        raise ValueError(f"task {chosen.name}: has no scripted expert")
    if Path(path).exists():  # said before minutes of simulation, not after
        raise FileExistsError(f"path = {path}: exists already; collection writes a new directory")
    from dppo_rllib.environments.robomimic.experts import make_expert
    from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv

    limit = chosen.max_episode_steps or spec.max_episode_steps
    kwargs = {**spec.kwargs, **chosen.env_config, "max_episode_steps": limit}
    envs = RobomimicVectorEnv(num_envs=min(_NUM_ENVS, episodes), **kwargs)
    try:
        recording = record_successes(
            envs,
            make_expert(envs, imperfection),
            episodes=episodes,
            noise=noise,
            seed=seed,
            task=chosen.description,
            progress=progress,
        )
    finally:
        envs.close()
    write_demonstrations(recording.demonstrations, path)
    return recording
