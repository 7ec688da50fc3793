"""One training run through Tune: checkpoints, loggers, resuming, and an orderly Ctrl-C."""

from __future__ import annotations

import logging
import os
import posixpath
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.tune.experiment import Trial
from ray.tune.result import SHOULD_CHECKPOINT

from dppo_rllib.checkpoints import StoragePath
from dppo_rllib.cli.history import TROUBLES, History
from dppo_rllib.cli.loggers import tracker_callbacks
from dppo_rllib.cli.progress import RunDisplay
from dppo_rllib.cli.run_directory import RunDirectory

CHECKPOINT_FREQUENCY = 1  # a pre-empted node loses at most the iteration under way
NUM_CHECKPOINTS = 2
TRIAL = "trial"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        checkpoint: Address of the newest checkpoint; None if it ended before the first.
        interrupted: It was stopped by Ctrl-C.
        error: What the trial raised, if it did.
    """

    checkpoint: str | None
    interrupted: bool
    error: Exception | None


class Watcher:
    """Stands between Tune's callbacks and one running command."""

    def __init__(self, history: History, display: RunDisplay, directory: RunDirectory):
        self.history, self.display, self.directory = history, display, directory
        self.stopping = False
        self.stopped = False

    def on_result(self, result: dict[str, Any]) -> None:
        """Records and shows an iteration; when stopping, asks Tune for a checkpoint of it."""
        self.display.show(self.history.add(result))
        for column, what in TROUBLES.items():
            if grown := self.history.growth(column):
                self.display.say(f"[yellow]{grown:.0f} {what}[/yellow]")
        try:
            self.directory.send()
        except OSError as error:
            self.display.say(f"[yellow]metrics are sent with the next iteration: {error}[/yellow]")
        if self.stopping:
            result[SHOULD_CHECKPOINT] = True

    def on_save(self) -> None:
        """When stopping, the checkpoint that was asked for is there: end the experiment."""
        if self.stopping:
            self.stop_now()

    def on_interrupt(self, *args: Any) -> None:
        """Ctrl-C or SIGTERM: first orderly, then at once."""
        del args
        if self.stopping:
            self.stop_now()
            return
        self.stopping = True
        self.display.say(
            "[yellow]Stopping after this iteration, with a checkpoint; "
            "press Ctrl-C again to stop without.[/yellow]"
        )

    def stop_now(self) -> None:
        """Interrupts Tune, which leaves the trial unfinished, so that it can be resumed."""
        if not self.stopped:
            self.stopped = True
            signal.raise_signal(signal.SIGUSR1)
        else:
            raise KeyboardInterrupt


_watcher: Watcher | None = None  # the one of the command that is running


class WatchCallback(tune.Callback):
    """Tells the running command's `Watcher`.

    Has no state: Tune pickles callbacks with an experiment, and a resumed one finds the watcher of
    the command that resumes it.
    """

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict, **info: Any
    ) -> None:
        """An iteration is done."""
        if _watcher is not None:
            _watcher.on_result(result)

    def on_trial_save(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """A checkpoint is written."""
        if _watcher is not None:
            _watcher.on_save()


def _trial_directory(trial: Trial) -> str:
    del trial
    return TRIAL


def new_tuner(
    config: AlgorithmConfig, output: StoragePath, iterations: int, loggers: Sequence[str] = ()
) -> tune.Tuner:
    """A run of `iterations` into `output`, told to experiment trackers too."""
    return tune.Tuner(
        config.algo_class,
        param_space=config,
        tune_config=tune.TuneConfig(trial_dirname_creator=_trial_directory),
        run_config=tune.RunConfig(
            name=output.name,
            storage_path=posixpath.dirname(output.path),
            storage_filesystem=output.filesystem,
            stop={"training_iteration": iterations},
            checkpoint_config=tune.CheckpointConfig(
                num_to_keep=NUM_CHECKPOINTS,
                checkpoint_frequency=CHECKPOINT_FREQUENCY,
                checkpoint_at_end=True,
            ),
            sync_config=tune.SyncConfig(sync_period=30),
            callbacks=[WatchCallback(), *tracker_callbacks(loggers)],
            verbose=0,
        ),
    )


def restored_tuner(algorithm: type, output: StoragePath) -> tune.Tuner:
    """The unfinished run in `output`."""
    return tune.Tuner.restore(
        output.path,
        trainable=algorithm,
        resume_errored=True,
        storage_filesystem=output.filesystem,
    )


def run(
    tuner: tune.Tuner, history: History, display: RunDisplay, directory: RunDirectory
) -> Outcome:
    """Runs to the end, or to Ctrl-C."""
    global _watcher
    watcher = _watcher = Watcher(history, display, directory)
    try:
        # W&B would write among Tune's files, which are copied before it has written its last.
        trackers = os.environ.get("WANDB_DIR", str(directory.local))
        with (
            quiet_ray(),
            interrupts(watcher.on_interrupt),
            _environment("WANDB_DIR", trackers),
        ):
            results = tuner.fit()
    finally:
        _watcher = None
    result = results[0]
    checkpoint = result.checkpoint
    return Outcome(
        checkpoint=(
            None
            if checkpoint is None
            else str(directory.path / TRIAL / posixpath.basename(checkpoint.path))
        ),
        interrupted=watcher.stopped,
        error=result.error,
    )


@contextmanager
def quiet_ray() -> Iterator[None]:
    """The display says what Ray's and Tune's own messages would say."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        # Tune's newer reporter prints its banner even at verbosity 0.
        with _environment("RAY_AIR_NEW_OUTPUT", "0"):
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    earlier = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name)
        if earlier is not None:
            os.environ[name] = earlier


@contextmanager
def interrupts(handler: Callable[..., None]) -> Iterator[None]:
    """Takes Ctrl-C and SIGTERM over from Tune, which stops at once when it gets SIGUSR1."""
    if not hasattr(signal, "SIGUSR1"):  # Windows: Tune's way is all there is
        yield
        return
    user_handler = signal.getsignal(signal.SIGUSR1)
    earlier = {
        # Schedulers announce a pre-emption with SIGTERM.
        number: signal.signal(number, handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        with _environment("TUNE_DISABLE_SIGINT_HANDLER", "1"):
            yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
        signal.signal(signal.SIGUSR1, user_handler)


def shut_down() -> None:
    """Ends the Ray that `start_ray` started, or leaves the one it connected to."""
    ray.shutdown()
