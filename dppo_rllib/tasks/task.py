"""Benchmark tasks: an environment, its data, and the settings that are known to work on it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium

from dppo_rllib.requirements import Requirement

if TYPE_CHECKING:  # tasks are data: listing them needs no RLlib
    from dppo_rllib.algorithms.bc import ChunkBCConfig
    from dppo_rllib.algorithms.chunk_algorithm import ChunkAlgorithm
    from dppo_rllib.algorithms.ppo_config import ChunkPPOConfig


@dataclass(frozen=True)
class Variant:
    """The same task in another simulator, or in another version of its environment.

    Attributes:
        env: Gymnasium id of that environment.
        env_config: Its arguments, besides the task's.
        requires: What must be installed for it, in place of what the task requires.
        gpu_simulator: As the task's.
    """

    env: str
    env_config: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[Requirement, ...] = ()
    gpu_simulator: bool = False


@dataclass(frozen=True)
class Task:
    """A task, pre-training and fine-tuning on it included.

    Attributes:
        name: What it is called on the command line.
        description: One line for people.
        env: Gymnasium id, or a class of environments.
        obs_dim: `Do`, width of one observation.
        action_dim: `Da`.
        env_config: Arguments of the environment.
        max_episode_steps: Cuts episodes; None keeps the environment's own limit.
        dataset: Demonstrations in the LeRobot v3 layout; None if there are none.
        base_policy: A pre-trained policy; None if `dppo pretrain` must make one first.
        from_scratch: Learned without demonstrations: training starts from random weights.
        success: What counts as success, in words; the environment reports it as `success` in its
            infos. None where only returns are compared.
        settings: By the name of an algorithm ("DPPO", "DiffusionBC", "GaussianPPO" …) what differs
            from the defaults of its configuration's `training`.
        num_envs: Environments that an iteration of fine-tuning samples from, over all runners.
        rollout_fragment_length: Chunk steps of each of them per iteration.
        epochs: Of pre-training.
        epochs_of: The same by the name of an algorithm, where it is another number.
        iterations: Of fine-tuning.
        expert: Settings of the environment's scripted expert, where it has one.
        reference: Where the settings come from, and published results.
        requires: What must be installed for it.
        variants: What else it can run in, by name; `get_task("NAME@VARIANT")` is it there.
        gpu_simulator: One simulator holds all environments, on a GPU. `dppo finetune` has them in
            the process that learns, for which Ray reserves it, unless it is told otherwise.
    """

    name: str
    description: str
    env: str | type[gymnasium.Env]
    obs_dim: int
    action_dim: int
    env_config: Mapping[str, Any] = field(default_factory=dict)
    max_episode_steps: int | None = None
    dataset: Path | None = None
    base_policy: Path | None = None
    from_scratch: bool = False
    success: str | None = None
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    num_envs: int = 40
    rollout_fragment_length: int = 500
    epochs: int = 200
    epochs_of: Mapping[str, int] = field(default_factory=dict)
    iterations: int = 1000
    expert: Mapping[str, Any] = field(default_factory=dict)
    reference: str = ""
    requires: tuple[Requirement, ...] = ()
    variants: Mapping[str, Variant] = field(default_factory=dict)
    gpu_simulator: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.env, (str, type)):
            raise TypeError(
                f"env={self.env!r}: expected a Gymnasium id or a class; wrap what builds an "
                "environment in a subclass of gymnasium.Wrapper"
            )
        if not self.name or self.name.strip() != self.name:
            raise ValueError(f"name={self.name!r}: expected a word")
        for name in (
            *("obs_dim", "action_dim", "num_envs", "rollout_fragment_length"),
            *("epochs", "iterations"),
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if too_few := {name: epochs for name, epochs in self.epochs_of.items() if epochs < 1}:
            raise ValueError(f"epochs_of={too_few}: expected at least 1")

    @property
    def env_name(self) -> str:
        """The environment in words."""
        return self.env if isinstance(self.env, str) else self.env.__name__

    def pretrain_config(
        self, dataset: str | Path | None = None, *, policy: str = "diffusion"
    ) -> ChunkBCConfig:
        """Pre-training on demonstrations.

        Args:
            dataset: Where they are; None takes the task's own.
            policy: "diffusion", "gaussian" or "gmm".

        Raises:
            ValueError: The task has no demonstrations and none are given, or there is no such
                policy.
            FileNotFoundError: They are not where they should be.
        """
        from dppo_rllib.algorithms.by_kind import PRETRAINING

        if policy not in PRETRAINING:
            raise ValueError(f"policy={policy!r}: expected one of {sorted(PRETRAINING)}")
        data = dataset or self.dataset
        if data is None:
            raise ValueError(
                f"task {self.name}: has no demonstrations; give them with --set dataset=<directory>"
            )
        algorithm = PRETRAINING[policy]
        return self._environment(algorithm).training(
            dataset=data,
            task=self.name,
            max_episode_steps=self.max_episode_steps,
            **self._settings(algorithm),
        )

    def finetune_config(
        self,
        base_policy: str | os.PathLike[str] | None = None,
        *,
        algorithm: str | None = None,
        num_env_runners: int = 2,
    ) -> ChunkPPOConfig:
        """Fine-tuning of a pre-trained policy, or learning from scratch.

        What a policy is made of goes before the task's settings, and so does how it acts (its
        sampler, `act_steps`) once it has been fine-tuned.

        Args:
            base_policy: Where to start; None takes the task's own.
            algorithm: Its name; None takes the one that the policy belongs to, DPPO from scratch.
            num_env_runners: Among how many the environments are divided; 0 runs them in the main
                process.

        Raises:
            ValueError: The task has no policy of its own and none is given, its environments
                cannot be divided among so many runners, or there is no such algorithm.
            FileNotFoundError: The policy does not exist.
        """
        from dppo_rllib.algorithms.by_kind import FINE_TUNING, algorithm_named
        from dppo_rllib.checkpoints import load_policy

        start = base_policy or self.base_policy
        if start is None and not self.from_scratch:
            raise ValueError(
                f"task {self.name}: no pre-trained policy is shipped; make one with "
                f"`dppo pretrain {self.name}` and give it with --from"
            )
        if algorithm is not None:
            chosen = algorithm_named(algorithm, FINE_TUNING)
        else:
            chosen = FINE_TUNING["diffusion" if start is None else load_policy(start).config.kind]
        settings = self._settings(chosen)
        config = (
            self._environment(chosen)
            .env_runners(
                num_env_runners=num_env_runners,
                num_envs_per_env_runner=self.envs_per_runner(num_env_runners),
                rollout_fragment_length=self.rollout_fragment_length,
            )
            .training(task=self.name, max_episode_steps=self.max_episode_steps, **settings)
        )
        if start is not None:
            config.training(base_policy=start)
            if not load_policy(start).config.fine_tuned:  # how it acts is for the task to say
                made_of = {*config.inherited, "network"}
                config.training(**{k: v for k, v in settings.items() if k not in made_of})
        return config

    def _environment(self, algorithm: type[ChunkAlgorithm]) -> Any:
        config: Any = algorithm.get_default_config()
        return config.environment(self.env, env_config=dict(self.env_config))

    def _settings(self, algorithm: type[ChunkAlgorithm]) -> Mapping[str, Any]:
        from dppo_rllib.algorithms.by_kind import ALGORITHMS

        if unknown := sorted(set(self.settings) - set(ALGORITHMS)):
            raise ValueError(
                f"task {self.name}: settings of {unknown}, expected some of {sorted(ALGORITHMS)}"
            )
        return self.settings.get(algorithm.__name__, {})

    def envs_per_runner(self, num_env_runners: int) -> int:
        """How many of the task's environments each runner gets.

        Raises:
            ValueError: They cannot be divided evenly.
        """
        runners = max(1, num_env_runners)
        if num_env_runners < 0 or self.num_envs % runners:
            divisors = [n for n in range(1, self.num_envs + 1) if self.num_envs % n == 0]
            raise ValueError(
                f"num_env_runners={num_env_runners}: expected a divisor of the task's "
                f"{self.num_envs} environments, one of {divisors}"
            )
        return self.num_envs // runners


_TASKS: dict[str, Task] = {}


def register(task: Task) -> Task:
    """Makes a task known by its name.

    Raises:
        ValueError: Another task has that name.
    """
    if task.name in _TASKS and _TASKS[task.name] != task:
        raise ValueError(f"task {task.name}: registered already; choose another name")
    _TASKS[task.name] = task
    return task


def task_names() -> list[str]:
    """Names of all registered tasks."""
    return sorted(_TASKS)


def get_task(name: str) -> Task:
    """The task of that name, or by `"NAME@VARIANT"` one of its variants.

    Raises:
        ValueError: There is none.
    """
    if name in _TASKS:
        return _TASKS[name]
    base, at, variant = name.partition("@")
    if at and base in _TASKS:
        return _variant(_TASKS[base], variant)
    close = difflib.get_close_matches(name, _TASKS, n=3, cutoff=0.4)
    raise ValueError(
        f"task {name!r}: unknown; "
        + (f"did you mean {' or '.join(close)}? " if close else "")
        + f"expected one of {task_names()}"
    )


def _variant(task: Task, name: str) -> Task:
    if name not in task.variants:
        others = [f"{task.name}@{other}" for other in sorted(task.variants)]
        raise ValueError(
            f"task '{task.name}@{name}': unknown variant; expected one of {[task.name, *others]}"
        )
    other = task.variants[name]
    return replace(
        task,
        name=f"{task.name}@{name}",
        env=other.env,
        env_config={**task.env_config, **other.env_config},
        requires=other.requires,
        variants={},
        gpu_simulator=other.gpu_simulator,
    )


def missing_requirements(task: Task) -> list[str]:
    """Commands that install what the task needs and is not there in a version that fits."""
    return [unmet for requirement in task.requires if (unmet := requirement.unmet)]
