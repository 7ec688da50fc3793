"""What a `finetune` or `pretrain` command will do: settled and checked before any work starts."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatch
from typing import Any, Literal

from dppo_rllib.algorithms.apply_settings import apply_settings, validate
from dppo_rllib.algorithms.by_kind import ALGORITHMS
from dppo_rllib.algorithms.chunk_config import ChunkConfig
from dppo_rllib.algorithms.placement import Cluster, Request, place
from dppo_rllib.algorithms.ppo_config import ChunkPPOConfig
from dppo_rllib.checkpoints import StoragePath, load_policy, save_policy
from dppo_rllib.checkpoints.find import find_policy
from dppo_rllib.cli.checks import (
    check_dims,
    check_environment,
    check_pictures,
    check_policy,
    check_values,
    ready_task,
)
from dppo_rllib.cli.loggers import check_loggers
from dppo_rllib.cli.run_directory import RUN_FILE, RunDirectory
from dppo_rllib.cli.settings import parse_settings
from dppo_rllib.datasets.atomic import write_text
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.tasks import Task, get_task
from dppo_rllib.tasks.load import load_tasks, loaded_files

Command = Literal["finetune", "pretrain"]
# Attributes that run.json does not hold.
_NOT_SAVED = ("directory", "config", "policy", "chosen")
START = "start"  # directory of the policy to start from
_OPTIONS = {
    "num_env_runners": "--runners",
    "num_learners": "--learners",
    "num_gpus_per_learner": "--gpus-per-learner",
    "seed": "--seed",
    "base_policy": "--from",
}
# Evaluation and videos use the task's environment, so training must, too.
_OF_THE_TASK = ("env", "env_config", "max_episode_steps")
_OF_ITS_ENVIRONMENT = "env_config."  # what is below is told to all three


@dataclass
class Plan:
    """One run.

    Attributes:
        command: What to do.
        task: On which task.
        algorithm: What trains; its name.
        directory: Where its files go.
        iterations: Training iterations (epochs of pre-training).
        episodes: Of each evaluation.
        seed: Of everything.
        start: Address of the policy that is fine-tuned; None when pre-training.
        video: Whether to record videos.
        tasks_from: Files with tasks of the user's own.
        loggers: Experiment trackers beside the files.
        settings: What was given with `--set`.
        before: Evaluation of the start, once it is done.
        request: What it reserves; empty until it is settled.
        config: The algorithm's configuration; None for a run that is resumed.
        policy: What is trained, with the shapes of its environment; None for such a run.
        chosen: Names of the settings that the user gave.
    """

    command: Command
    task: str
    algorithm: str
    directory: RunDirectory
    iterations: int
    episodes: int
    seed: int
    start: str | None
    video: bool
    tasks_from: list[str]
    loggers: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    before: dict[str, dict[str, float]] | None = None
    request: Request = field(default_factory=lambda: Request([]))
    config: ChunkConfig | None = None
    policy: PolicyConfig | None = None
    chosen: set[str] = field(default_factory=set)

    @classmethod
    def finetune(
        cls,
        task_name: str | None,
        *,
        start: str | None,
        algorithm: str | None,
        settings: Sequence[str],
        iterations: int | None,
        runners: int | None,
        learners: int | None,
        gpus_per_learner: float | None,
        output: str | None,
        **common: Any,
    ) -> Plan:
        """Fine-tuning.

        Raises:
            ValueError: Something does not fit.
            FileNotFoundError: There is no policy to start from.
            FileExistsError: The output directory is in use.
        """
        task = ready_task(task_name)
        if task.gpu_simulator and runners is None:
            runners = 0
        if learners is None:
            learners = 0 if task.gpu_simulator and runners == 0 else 1
        policy = None
        if start is not None or task.base_policy is not None:
            policy = find_policy(start or task.base_policy or "")
            check_policy(task, policy)
        config = task.finetune_config(
            policy,
            algorithm=algorithm,
            num_env_runners=1 if runners is None else runners,  # `settle` divides them otherwise
        )
        plan = cls(
            command="finetune",
            task=task.name,
            algorithm=config.algo_class.__name__,
            directory=_new_directory(output, task, "finetune"),
            iterations=iterations or task.iterations,
            start=None if policy is None else str(policy),
            tasks_from=[str(path) for path in loaded_files()],
            settings=parse_settings(settings),
            config=config,
            **common,
        )
        if runners is not None:
            plan.chosen.add("num_env_runners")
        plan._finish(learners, gpus_per_learner)
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
        gpus_per_learner: float | None,
        output: str | None,
        **common: Any,
    ) -> Plan:
        """Pre-training.

        Raises:
            ValueError: Something does not fit.
            FileNotFoundError: There are no demonstrations.
            FileExistsError: The output directory is in use.
        """
        task = ready_task(task_name)
        parsed = parse_settings(settings)
        config = task.pretrain_config(parsed.get("dataset"), policy=policy)
        check_dims(task, config)
        algorithm = config.algo_class.__name__
        plan = cls(
            command="pretrain",
            task=task.name,
            algorithm=algorithm,
            directory=_new_directory(output, task, "pretrain"),
            iterations=epochs or task.epochs_of.get(algorithm, task.epochs),
            start=None,
            tasks_from=[str(path) for path in loaded_files()],
            settings=parsed,
            config=config,
            **common,
        )
        plan._finish(learners, gpus_per_learner)
        assert plan.policy is not None
        check_pictures(task, config, plan.policy)
        check_values(config)
        return plan

    @property
    def env_settings(self) -> dict[str, Any]:
        """What was set of the environment: changes the task's own `env_config`."""
        return {
            key.removeprefix(_OF_ITS_ENVIRONMENT): value
            for key, value in self.settings.items()
            if key.startswith(_OF_ITS_ENVIRONMENT)
        }

    def _finish(self, learners: int, gpus_per_learner: float | None) -> None:
        assert self.config is not None
        of_algorithm = {
            key: value
            for key, value in self.settings.items()
            if not key.startswith(_OF_ITS_ENVIRONMENT)
        }
        for key in of_algorithm:
            if option := _OPTIONS.get(key):
                raise ValueError(f"--set {key}: use {option}")
            if key.partition(".")[0] in _OF_THE_TASK:
                raise ValueError(
                    f"--set {key}: a setting of the task; register a task of your "
                    "own with --tasks-from"
                )
        self.config.learners(num_learners=learners)
        if gpus_per_learner is not None:
            self.config.learners(num_gpus_per_learner=gpus_per_learner)
            self.chosen.add("num_gpus_per_learner")
        check_loggers(self.loggers)
        self.chosen |= {key.partition(".")[0] for key in self.settings}
        self.config.debugging(seed=self.seed, log_level="ERROR")
        self.config.env_config = {**self.config.env_config, **self.env_settings}
        apply_settings(self.config, of_algorithm)
        # Checks may complete a configuration with what they find: not in the one that will run.
        validate(self.config.copy(copy_frozen=False))
        self.policy = check_environment(get_task(self.task), self.config)

    def settle(self, cluster: Cluster) -> None:
        """Divides the cluster among the processes; a run that is resumed keeps its division.

        Raises:
            ValueError: It cannot be divided so.
        """
        asked = "the run's processes"
        if config := self.config:
            place(config, cluster, self.chosen)
            validate(config.copy(copy_frozen=False))
            self.request = Request.of(config)
            asked = f"--learners {config.num_learners}"
            if self.command == "finetune":
                asked = f"--runners {config.num_env_runners} {asked}"
        self.request.check(cluster, asked)

    def save(self) -> None:
        """Writes down what a later `--resume` needs.

        Raises:
            ValueError: It cannot be written where the run shall be.
        """
        values = {name: getattr(self, name) for name in _saved_fields()}
        values["request"] = asdict(self.request)
        text = json.dumps(values, indent=2, default=str) + "\n"
        try:
            self.directory.local.mkdir(parents=True, exist_ok=True)
            write_text(self.directory.local / RUN_FILE, text)
            self.directory.send()
        except OSError as error:
            raise ValueError(f"--output {self.directory}: cannot be written ({error})") from error

    def keep_start(self) -> None:
        """Puts the policy to start from into the run's directory.

        The machine that trains or goes on with the run may not be this one, and a job's copy of
        its working directory may be gone by then.
        """
        if self.start is None or not isinstance(self.config, ChunkPPOConfig):
            return
        save_policy(load_policy(self.start), self.directory.local / START)
        self.directory.send()
        # Not through `training`: what the policy brings along is there, some of it set anew.
        self.config.base_policy = str(self.directory.path / START)


def _saved_fields() -> set[str]:
    return set(Plan.__dataclass_fields__) - set(_NOT_SAVED)


def check_resume(run: str, command: Command, given: Mapping[str, Any], *, video: bool) -> Plan:
    """The plan of an interrupted run.

    Args:
        run: Its output directory, a path or a URI.
        command: What is to go on.
        given: Arguments of the command by name; None where the user said nothing.
        video: Whether videos are still wanted.

    Raises:
        FileNotFoundError: `run` is not the directory of one.
        ValueError: It is of another command, has not begun to train, or options were given that
            would change it.
    """
    directory = RunDirectory.of(run)
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"--resume {run}: takes everything from that run, but {name}={value} is given "
                f"too; for a new run that goes on from this one's policy use --from {run}"
            )
    values = _read_run(directory)
    if values["command"] != command:
        raise ValueError(f"--resume {run}: was made by `dppo {values['command']}`")
    _check_tune_state(directory.path)
    check_loggers(values["loggers"])
    for path in values["tasks_from"]:
        load_tasks(path)
    get_task(values["task"])
    if values["algorithm"] not in ALGORITHMS:
        raise ValueError(f"{run}: algorithm {values['algorithm']!r} is not of this version")
    values |= {"video": values["video"] and video, "request": Request(**values["request"])}
    return Plan(**values, directory=directory)


def _read_run(directory: RunDirectory) -> dict[str, Any]:
    expected = _saved_fields()
    try:
        values: dict[str, Any] = json.loads((directory.local / RUN_FILE).read_bytes())
        if set(values) != expected:
            raise ValueError(f"fields {sorted(values)}, expected {sorted(expected)}")
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{directory}/{RUN_FILE}: damaged or of another version ({error}); start a new run"
        ) from error
    return values


def _check_tune_state(path: StoragePath) -> None:
    """Raises ValueError unless Tune can go on: it would start anew without a word."""
    names = {file.name: file for file in path.files()}
    states = sorted(name for name in names if fnmatch(name, "experiment_state-*.json"))
    if not states or "tuner.pkl" not in names:
        raise ValueError(
            f"--resume {path}: it stopped before training began; delete it and start a new run"
        )
    try:
        json.loads(names[states[-1]].read_bytes())
    except ValueError as error:
        raise ValueError(
            f"--resume {path}: {states[-1]} is damaged ({error}); start a new run from this one's "
            f"newest checkpoint with --from {path}"
        ) from error


def _new_directory(output: str | None, task: Task, command: str) -> RunDirectory:
    if output is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        # The process tells runs apart that start in the same second.
        output = f"results/{task.name}-{command}-{stamp}-{os.getpid()}"
    return RunDirectory.new(output)
