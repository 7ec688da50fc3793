"""What is checked before a run begins: what does not fit is a ValueError that says why."""

from __future__ import annotations

import contextlib

from dppo_rllib.algorithms.bc import ChunkBCConfig
from dppo_rllib.algorithms.chunk_config import ChunkConfig
from dppo_rllib.checkpoints import StoragePath, load_policy
from dppo_rllib.datasets import DatasetReader, local_dataset, read_image_shape
from dppo_rllib.environments import make_chunked_env
from dppo_rllib.modules.chunk_module import shapes_of
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.tasks import Task, get_task, missing_requirements, task_names

_CHECKED_BYTES = 256 * 2**20  # of demonstrations, at a time


def ready_task(name: str | None) -> Task:
    """The task of this name, if all that it needs is installed."""
    if name is None:
        raise ValueError(f"TASK: missing; expected one of {task_names()} (or --resume RUN)")
    task = get_task(name)
    if missing := missing_requirements(task):
        raise ValueError(f"task {name}: install first: {'; '.join(missing)}")
    return task


def check_policy(task: Task, path: StoragePath) -> None:
    """That a policy sees and does what the task's environment shows and takes."""
    policy = load_policy(path)
    for name in ("obs_dim", "action_dim"):
        given, expected = getattr(policy.config, name), getattr(task, name)
        if given != expected:
            raise ValueError(
                f"--from {path}: {name}={given}, but task {task.name} has {expected}"
                + (f"; the policy was made for task {policy.task}" if policy.task else "")
            )


def check_environment(task: Task, config: ChunkConfig) -> PolicyConfig:
    """The policy as it fits what the task's environment shows."""
    try:
        env = make_chunked_env(
            task.env,
            1,
            act_steps=config.act_steps,
            cond_steps=config.cond_steps,
            img_cond_steps=config.img_cond_steps,
            env_kwargs=dict(config.env_config),
            max_episode_steps=task.max_episode_steps,
        )
    except ImportError as error:  # what it simulates with is not there, or not as it must be
        raise ValueError(f"task {task.name}: {error}") from error
    except TypeError as error:
        if config.env_config == task.env_config:
            raise
        raise ValueError(f"env_config={config.env_config}: {error}") from error
    with contextlib.closing(env):
        shapes = shapes_of(env.single_observation_space, env.single_action_space)
    for name in ("obs_dim", "action_dim"):
        if shapes[name] != (expected := getattr(task, name)):
            raise ValueError(
                f"task {task.name}: {name}={expected}, but its environment has {shapes[name]}"
            )
    return config.policy_config(**shapes)


def check_dims(task: Task, config: ChunkBCConfig) -> None:
    """That demonstrations have as many observations and actions as the task."""
    assert config.normalization is not None
    for name, bound in (("obs_dim", "obs_min"), ("action_dim", "action_min")):
        given, expected = len(config.normalization[bound]), getattr(task, name)
        if given != expected:
            raise ValueError(
                f"dataset={config.dataset}: {name}={given}, but task {task.name} has {expected}"
            )


def check_values(config: ChunkBCConfig) -> None:
    """Reads the demonstrations once, at a time no more than training may; pictures wait for it."""
    assert config.dataset is not None
    size = min(_CHECKED_BYTES, config.dataset_memory_limit or _CHECKED_BYTES)
    reader = DatasetReader(local_dataset(config.dataset), cameras=())
    for block in reader.blocks(size, reader.split(config.dataset_split)):
        reader.read(block)


def check_pictures(task: Task, config: ChunkBCConfig, policy: PolicyConfig) -> None:
    """That demonstrations have the pictures that the environment shows."""
    assert config.dataset is not None
    if policy.image_shape is None:
        return
    given = read_image_shape(local_dataset(config.dataset, metadata_only=True))
    if given != policy.image_shape:
        raise ValueError(
            f"dataset={config.dataset}: pictures (C, H, W) are {given}, but the environment of "
            f"task {task.name} shows {policy.image_shape}; its settings are those below "
            "--set env_config."
        )
