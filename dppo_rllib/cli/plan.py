"""What a `finetune` or `pretrain` command will do: settled and checked before any work starts."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ray import tune

from dppo_rllib.algorithms.apply_settings import apply_settings, validate
from dppo_rllib.algorithms.bc import ChunkBCConfig
from dppo_rllib.algorithms.by_kind import ALGORITHMS
from dppo_rllib.algorithms.chunk_config import ChunkConfig
from dppo_rllib.checkpoints import load_policy
from dppo_rllib.checkpoints.find import find_policy
from dppo_rllib.cli.placement import default_runners
from dppo_rllib.cli.settings import parse_settings
from dppo_rllib.datasets import read_demonstrations
from dppo_rllib.datasets.atomic import write_text
from dppo_rllib.environments import make_chunked_env
from dppo_rllib.modules.chunk_module import shapes_of
from dppo_rllib.tasks import Task, get_task, missing_requirements, task_names
from dppo_rllib.tasks.load import load_tasks, loaded_files

Command = Literal["finetune", "pretrain"]
_RUN_FILE = "run.json"
_OPTIONS = {
    "num_env_runners": "--runners",
    "num_learners": "--learners",
    "seed": "--seed",
    "base_policy": "--from",
}
# Evaluation and videos use the task's environment, so training must, too.
_OF_THE_TASK = ("env", "env_config", "max_episode_steps")


@dataclass
class Plan:
    """One run.

    Attributes:
        command: What to do.
        task: On which task.
        algorithm: What trains; its name.
        output: Where its files go.
        iterations: Training iterations (epochs of pre-training).
        episodes: Of each evaluation.
        seed: Of everything.
        start: Policy that is fine-tuned; None when pre-training.
        video: Whether to record videos.
        tasks_from: Files with tasks of the user's own.
        settings: What was given with `--set`.
        before: Evaluation of the start, once it is done.
        config: The algorithm's configuration; None for a run that is resumed.
    """

    command: Command
    task: str
    algorithm: str
    output: Path
    iterations: int
    episodes: int
    seed: int
    start: Path | None
    video: bool
    tasks_from: list[str]
    settings: dict[str, Any] = field(default_factory=dict)
    before: dict[str, dict[str, float]] | None = None
    config: ChunkConfig | None = None

    @classmethod
    def finetune(
        cls,
        task_name: str | None,
        *,
        start: Path | None,
        algorithm: str | None,
        settings: Sequence[str],
        iterations: int | None,
        runners: int | None,
        learners: int,
        output: Path | None,
        **common: Any,
    ) -> Plan:
        """Fine-tuning.

        Raises:
            ValueError: Something does not fit.
            FileNotFoundError: There is no policy to start from.
            FileExistsError: The output directory is in use.
        """
        task = _ready_task(task_name)
        policy = None
        if start is not None or task.base_policy is not None:
            policy = find_policy(start or task.base_policy or "")
            _check_policy(task, policy)
        config = task.finetune_config(
            policy,
            algorithm=algorithm,
            num_env_runners=default_runners(task.num_envs) if runners is None else runners,
        )
        plan = cls(
            command="finetune",
            task=task.name,
            algorithm=config.algo_class.__name__,
            output=_new_output(output, task, "finetune"),
            iterations=iterations or task.iterations,
            start=policy,
            tasks_from=[str(path) for path in loaded_files()],
            settings=parse_settings(settings),
            config=config,
            **common,
        )
        plan._finish(learners)
        return plan

    @classmethod
    def pretrain(
        cls,
        task_name: str | None,
        *,
        policy: str,
        epochs: int | None,
        settings: Sequence[str],
        learners: int,
        output: Path | None,
        **common: Any,
    ) -> Plan:
        """Pre-training.

        Raises:
            ValueError: Something does not fit.
            FileNotFoundError: There are no demonstrations.
            FileExistsError: The output directory is in use.
        """
        task = _ready_task(task_name)
        parsed = parse_settings(settings)
        config = task.pretrain_config(parsed.get("dataset"), policy=policy)
        _check_dataset(task, config)
        plan = cls(
            command="pretrain",
            task=task.name,
            algorithm=config.algo_class.__name__,
            output=_new_output(output, task, "pretrain"),
            iterations=epochs or task.epochs,
            start=None,
            tasks_from=[str(path) for path in loaded_files()],
            settings=parsed,
            config=config,
            **common,
        )
        plan._finish(learners)
        return plan

    def _finish(self, learners: int) -> None:
        assert self.config is not None
        for key in self.settings:
            if option := _OPTIONS.get(key):
                raise ValueError(f"--set {key}: use {option}")
            if key.partition(".")[0] in _OF_THE_TASK:
                raise ValueError(
                    f"--set {key}: a setting of the task; register a task of your "
                    "own with --tasks-from"
                )
        self.config.learners(num_learners=learners)
        self.config.debugging(seed=self.seed, log_level="ERROR")
        apply_settings(self.config, self.settings)
        # Checks may complete a configuration with what they find: not in the one that will run.
        validate(self.config.copy(copy_frozen=False))
        _check_environment(get_task(self.task), self.config)

    def save(self) -> None:
        """Writes down what a later `--resume` needs."""
        values = {
            name: getattr(self, name) for name in self.__dataclass_fields__ if name != "config"
        }
        text = json.dumps(values, indent=2, default=str) + "\n"
        self.output.mkdir(parents=True, exist_ok=True)
        write_text(self.output / _RUN_FILE, text)


def check_resume(run: Path, command: Command, given: Mapping[str, Any], *, video: bool) -> Plan:
    """The plan of an interrupted run.

    Args:
        run: Its output directory.
        command: What is to go on.
        given: Arguments of the command by name; None where the user said nothing.
        video: Whether videos are still wanted.

    Raises:
        FileNotFoundError: `run` is not the directory of one.
        ValueError: It is of another command, has not begun to train, or options were given that
            would change it.
    """
    source = run / _RUN_FILE
    if not source.is_file():
        raise FileNotFoundError(f"--resume {run}: expected the output directory of an earlier run")
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"--resume {run}: takes everything from that run, but {name}={value} is given "
                f"too; for a new run that goes on from this one's policy use --from {run}"
            )
    values = _read_run(source)
    if values["command"] != command:
        raise ValueError(f"--resume {run}: was made by `dppo {values['command']}`")
    begun = any(run.glob("experiment_state-*.json"))
    if not begun or not tune.Tuner.can_restore(str(run.absolute())):
        raise ValueError(
            f"--resume {run}: it stopped before training began; delete it and start a new run"
        )
    for path in values["tasks_from"]:
        load_tasks(path)
    get_task(values["task"])
    if values["algorithm"] not in ALGORITHMS:
        raise ValueError(f"{source}: algorithm {values['algorithm']!r} is not of this version")
    start = values["start"]
    # The run may have been moved.
    places = {"output": run.absolute(), "start": None if start is None else Path(start)}
    return Plan(**{**values, **places, "video": values["video"] and video})


def _read_run(source: Path) -> dict[str, Any]:
    expected = {name for name in Plan.__dataclass_fields__ if name != "config"}
    try:
        values: dict[str, Any] = json.loads(source.read_text())
        if set(values) != expected:
            raise ValueError(f"fields {sorted(values)}, expected {sorted(expected)}")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{source}: damaged or of another version ({error}); start a new run"
        ) from error
    return values


def _ready_task(name: str | None) -> Task:
    if name is None:
        raise ValueError(f"TASK: missing; expected one of {task_names()} (or --resume RUN)")
    task = get_task(name)
    if missing := missing_requirements(task):
        raise ValueError(f"task {name}: install first: {'; '.join(missing)}")
    return task


def _check_policy(task: Task, path: Path) -> None:
    policy = load_policy(path)
    for name in ("obs_dim", "action_dim"):
        given, expected = getattr(policy.config, name), getattr(task, name)
        if given != expected:
            raise ValueError(
                f"--from {path}: {name}={given}, but task {task.name} has {expected}"
                + (f"; the policy was made for task {policy.task}" if policy.task else "")
            )


def _check_environment(task: Task, config: ChunkConfig) -> None:
    """Raises ValueError unless the policy fits what the task's environment shows."""
    env = make_chunked_env(
        task.env,
        1,
        act_steps=config.act_steps,
        cond_steps=config.cond_steps,
        img_cond_steps=config.img_cond_steps,
        env_kwargs=dict(task.env_config),
        max_episode_steps=task.max_episode_steps,
    )
    with contextlib.closing(env):
        shapes = shapes_of(env.single_observation_space, env.single_action_space)
    for name in ("obs_dim", "action_dim"):
        if shapes[name] != (expected := getattr(task, name)):
            raise ValueError(
                f"task {task.name}: {name}={expected}, but its environment has {shapes[name]}"
            )
    config.policy_config(**shapes)


def _check_dataset(task: Task, config: ChunkBCConfig) -> None:
    assert config.normalization is not None and config.dataset is not None
    for name, bound in (("obs_dim", "obs_min"), ("action_dim", "action_min")):
        given, expected = len(config.normalization[bound]), getattr(task, name)
        if given != expected:
            raise ValueError(
                f"dataset={config.dataset}: {name}={given}, but task {task.name} has {expected}"
            )
    read_demonstrations(config.dataset).validate()


def _new_output(output: Path | None, task: Task, command: str) -> Path:
    if output is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        # The process tells runs apart that start in the same second.
        output = Path("results") / f"{task.name}-{command}-{stamp}-{os.getpid()}"
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise FileExistsError(
            f"--output {output}: exists already; expected a new directory (to go on with an "
            "interrupted run use --resume)"
        )
    return output.absolute()
