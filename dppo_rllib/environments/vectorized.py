"""Many `ChunkEnv`s at once: one after the other, or in a process each."""

from __future__ import annotations

import functools
import pickle
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from jaxtyping import Bool, Float, Float32, Int, Shaped

from dppo_rllib.environments.arrays import Array
from dppo_rllib.environments.chunk_env import ChunkEnv

Build = Callable[[], ChunkEnv]
# With pictures: `{"state": [N, To, Do], "rgb": [N, Ti, C, H, W]}`.
Histories = Float32[Array, "N To Do"] | dict[str, Shaped[np.ndarray, "N ..."]]
HistorySpace = gymnasium.spaces.Box | gymnasium.spaces.Dict


@dataclass(frozen=True)
class ChunkResults:
    """What a chunk led to in `N` environments; where an episode ended, the next one has started.

    Attributes:
        start: Histories to act on next.
        final: Histories as the chunk left them; `start` itself if no episode ended.
        reward: Sums over the executed steps.
        terminated: The episode ended by itself.
        truncated: The episode was cut.
        env_steps: Executed steps.
        invalid: The episode was cut because the simulator failed.
        success: The environment reported success in a step of the chunk.
        has_success: The environment reported whether it is a success.
    """

    start: Histories
    final: Histories
    reward: Float[np.ndarray, " N"]
    terminated: Bool[np.ndarray, " N"]
    truncated: Bool[np.ndarray, " N"]
    env_steps: Int[np.ndarray, " N"]
    invalid: Bool[np.ndarray, " N"]
    success: Bool[np.ndarray, " N"]
    has_success: Bool[np.ndarray, " N"]

    @classmethod
    def from_rows(cls, rows: Iterable[tuple[Any, ...]]) -> ChunkResults:
        """Columns from one row for each environment."""
        starts, finals, reward, terminated, truncated, env_steps, *flags = zip(*rows, strict=True)
        start = _stacked(starts)
        return cls(
            start,
            _stacked(finals) if any(terminated) or any(truncated) else start,
            np.array(reward, np.float64),
            np.array(terminated, bool),
            np.array(truncated, bool),
            np.array(env_steps, np.int64),
            *(np.array(flag, bool) for flag in flags),
        )


class SerialChunkEnvs:
    """One after the other: a loop without what Gymnasium's has to do in general.

    An environment whose episode has ended restarts in the same step.

    Raises:
        ValueError: The environments differ in their spaces.
    """

    device = None  # observations and actions are arrays of NumPy

    def __init__(self, builds: Sequence[Build]):
        self._envs = [build() for build in builds]
        first = self._envs[0]
        self.num_envs = len(self._envs)
        self.render_mode, self.metadata = first.render_mode, first.metadata
        self.observation_space: HistorySpace = first.observation_space
        self.action_space: gymnasium.spaces.Box = first.action_space
        for i, env in enumerate(self._envs):
            for name in ("observation_space", "action_space"):
                if getattr(env, name) != getattr(first, name):
                    self.close()
                    raise ValueError(
                        f"{name} of environment {i}: {getattr(env, name)}, expected that of "
                        f"environment 0, {getattr(first, name)}"
                    )

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None) -> Histories:
        """Starts all episodes."""
        pairs = zip(self._envs, seeds, strict=True)
        return _stacked([env.reset(seed=seed, options=options)[0] for env, seed in pairs])

    def step(self, chunks: Float[np.ndarray, "N Ta Da"]) -> ChunkResults:
        """Executes a chunk of the simulator's own actions in each."""
        rows = []
        for env, chunk in zip(self._envs, chunks, strict=True):
            final, reward, terminated, truncated, info = env.step(chunk)
            start = env.reset()[0] if terminated or truncated else final
            rows.append((start, final, reward, terminated, truncated, *info["outcome"]))
        return ChunkResults.from_rows(rows)

    def pop_frames(self) -> list[np.ndarray]:
        """Pictures of environment 0 since the last call."""
        frames, self._envs[0].frames = self._envs[0].frames, []
        return frames

    def close(self) -> None:
        """Closes all."""
        for env in self._envs:
            env.close()


class ParallelChunkEnvs:
    """In a process each; otherwise as `SerialChunkEnvs`.

    After an exception they can only be closed.

    Raises:
        RuntimeError: An environment could not be built in its process, or the spaces differ.
    """

    device = None  # observations and actions are arrays of NumPy

    def __init__(self, builds: Sequence[Build]):
        guarded = [functools.partial(_Reporting, build) for build in builds]
        try:
            self._envs = AsyncVectorEnv(guarded, autoreset_mode=AutoresetMode.SAME_STEP)
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(
                "env: an environment could not be built in its process (whose output says why)"
            ) from error
        self.num_envs = self._envs.num_envs
        self.render_mode, self.metadata = self._envs.render_mode, self._envs.metadata
        histories, chunks = self._envs.single_observation_space, self._envs.single_action_space
        assert isinstance(histories, (gymnasium.spaces.Box, gymnasium.spaces.Dict))
        assert isinstance(chunks, gymnasium.spaces.Box)
        self.observation_space: HistorySpace = histories
        self.action_space: gymnasium.spaces.Box = chunks

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None) -> Histories:
        """Starts all episodes."""
        return self._ask(lambda: self._envs.reset(seed=list(seeds), options=options))[0]

    def step(self, chunks: Float[np.ndarray, "N Ta Da"]) -> ChunkResults:
        """Executes a chunk of the simulator's own actions in each."""
        obs, reward, terminated, truncated, infos = self._ask(lambda: self._envs.step(chunks))
        rows = []
        for i, ended in enumerate(terminated | truncated):
            start = _row(obs, i)
            final = infos["final_obs"][i] if ended else start
            outcome = (infos["final_info"] if ended else infos)["outcome"][i]
            rows.append((start, final, reward[i], terminated[i], truncated[i], *outcome))
        return ChunkResults.from_rows(rows)

    def pop_frames(self) -> list[np.ndarray]:
        """Not supported: pictures stay in their process."""
        raise ValueError("vectorization='async': expected 'sync' for pictures")

    def close(self) -> None:
        """Closes all."""
        self._envs.close()

    def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except _WorkerError as error:
            # Gymnasium wraps the exception that it got into another one of its type.
            error.args[0].throw()
        except (EOFError, ConnectionError) as error:
            codes = self._terminate()
            raise RuntimeError(
                f"environments whose process ended, and its exit code: {codes}"
            ) from error

    def _terminate(self) -> dict[int, int]:
        """Ends all processes; Gymnasium's own way would wait for an answer of the dead ones."""
        for process in self._envs.processes:
            process.join(timeout=0.1)
        codes = {i: p.exitcode for i, p in enumerate(self._envs.processes) if p.exitcode}
        for process in self._envs.processes:
            process.terminate()
            process.join()
        self._envs.closed = True
        return codes


def _stacked(histories: Sequence[Any]) -> Histories:
    """One more axis in front, in new memory."""
    if isinstance(histories[0], dict):
        return {key: np.array([h[key] for h in histories]) for key in histories[0]}
    return np.array(histories)


def _row(histories: Histories, i: int) -> Any:
    if isinstance(histories, dict):
        return {key: values[i] for key, values in histories.items()}
    return histories[i]


class _WorkerError(Exception):
    """An exception that travels between processes, whatever it holds.

    Gymnasium waits forever for one that cannot be pickled, and raises a TypeError for one that
    cannot be built from its message.

    Args:
        packed: Type, arguments and attributes of the original, pickled; None if that fails.
        text: Its traceback.
    """

    @classmethod
    def of(cls, error: Exception) -> _WorkerError:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        try:
            packed = pickle.dumps((type(error), error.args, error.__dict__))
            pickle.loads(packed)
        except Exception:
            packed = None
        return cls(packed, text)

    def __str__(self) -> str:
        return str(self.args[-1])

    def throw(self) -> NoReturn:
        """Raises the original, or a RuntimeError where it could not travel."""
        packed, text = self.args
        cause = _WorkerError(f"in the environment's process:\n\n{text}")
        if packed is None:
            raise RuntimeError("an environment failed") from cause
        kind, args, attributes = pickle.loads(packed)
        error = kind.__new__(kind, *args)
        error.__dict__.update(attributes)
        raise error from cause


class _Reporting(gymnasium.Wrapper):
    """Raises every exception as a `_WorkerError`."""

    def __init__(self, build: Build):
        super().__init__(build())

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        try:
            return self.env.reset(seed=seed, options=options)
        except Exception as error:
            raise _WorkerError.of(error) from None

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        try:
            return self.env.step(action)
        except Exception as error:
            raise _WorkerError.of(error) from None
