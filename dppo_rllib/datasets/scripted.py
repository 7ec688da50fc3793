"""Record what scripted experts do, and keep what has succeeded.

An expert makes mistakes, on purpose: correlated noise disturbs its actions, and its failures are
left out. Attempts are numbered, and all that happens in one follows from the seed and its number.
Kept are the first successes by number, not those that finish first, which would be the short ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Float, Float32, Int
from scipy.signal import lfilter

from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.episodes import Episode, as_demonstrations
from dppo_rllib.environments.observation_spaces import (
    RGB,
    STATE,
    channel_axis,
    split_observation_space,
)
from dppo_rllib.errors import UserError

# Of the noise on an action what is left in the next one.
_CORRELATION = 0.8
# Attempts to a wanted episode after which an expert is taken for one that cannot do it.
_MAX_ATTEMPTS = 20


@runtime_checkable
class ScriptedExpert(Protocol):
    """What acts in the copies of an environment, and remembers by copy where it is.

    Attributes:
        max_steps: Of an episode; what has not succeeded until then has failed.
        noise_scale: How much noise each action bears, 1 for all of it, `[Da]`.
    """

    max_steps: int

    @property
    def noise_scale(self) -> Float[np.ndarray, " Da"]:
        """See the class."""
        ...

    def begin(self, rows: Int[np.ndarray, " n"], generators: Sequence[np.random.Generator]) -> None:
        """Episodes have begun in some copies; a generator for each."""
        ...

    def act(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n Da"]:
        """The next actions of some copies."""
        ...


@dataclass(frozen=True)
class Success:
    """An episode that has succeeded.

    Attributes:
        demonstration: What was done in it.
        seed: Of its environment.
        attempts: Those until then, this one included.
    """

    demonstration: Demonstrations
    seed: int
    attempts: int


#: What is recorded of an action: with its noise, or as the expert meant it.
LABELS = ("executed", "intended")

#: Called after every finished attempt with (attempts that count so far, successes among them).
AttemptProgress = Callable[[int, int], None]


def record_successes(
    envs: VectorEnv,
    expert: ScriptedExpert,
    *,
    episodes: int,
    noise: float = 0.05,
    labels: str = "executed",
    hold_steps: int = 8,
    success: str = "success",
    seed: int = 0,
    task: str = "",
    progress: AttemptProgress | None = None,
) -> Iterator[Success]:
    """Lets an expert try until so many episodes have succeeded.

    An episode ends, truncated, once its success has been reported `hold_steps` times in a row, or
    with success where the environment terminates it; one that is cut before has failed. How many
    copies there are changes nothing in the result.

    Args:
        envs: The copies. They leave episodes that have ended alone (`AutoresetMode.DISABLED`),
            report `success`, `[N]`, in their infos, which is recorded, and may report `invalid`.
        expert: Acts in them.
        episodes: To keep.
        noise: Standard deviation of what is added to actions, as a share of half their range,
            correlated over about 4 steps.
        labels: Which actions are recorded: "executed", noise and all, or "intended", which noise
            led astray: a clone learns how the expert comes back, and none of its noise (DART,
            arXiv 1703.09327). Those are no transitions: for cloning alone.
        hold_steps: See above.
        success: What the infos call the success above, if it is another than that of the task.
        seed: Of everything.
        task: What the episodes show, in words.
        progress: See `AttemptProgress`.

    Yields:
        The episodes in order of their numbers, each once all before it have ended. Actions are
        clipped to their bounds. Pictures are channels first.

    Raises:
        ValueError: An argument is out of range, or the environments restart by themselves.
        UserError: The expert hardly ever succeeds.
    """
    _check(envs, episodes, noise, labels, hold_steps)
    attempts = _Attempts(envs, expert, noise, labels, hold_steps, success, seed)
    fps = float(envs.metadata.get("render_fps") or 30.0)
    counted, yielded = -1, 0
    while True:
        for number, episode in attempts.settled():
            demonstration = as_demonstrations([episode], fps, task)
            yield Success(demonstration, _env_seed(seed, number), number + 1)
            yielded += 1
            if yielded == episodes:
                if progress is not None:
                    progress(number + 1, episodes)
                return
        tried, kept = attempts.counts()
        if tried >= _MAX_ATTEMPTS * episodes:
            raise UserError(
                f"{kept} of {tried} attempts have succeeded, expected at least 1 of "
                f"{_MAX_ATTEMPTS}; lower noise={noise} or the expert's imperfection"
            )
        if progress is not None and tried > counted:
            progress(tried, kept)
            counted = tried
        attempts.step(wanted=episodes - kept)


@dataclass
class _Attempt:
    """An episode under way."""

    number: int
    noise: Float[np.ndarray, "T Da"]
    episode: Episode = field(default_factory=Episode)
    held: int = 0


class _Attempts:
    """Attempts in all copies, and what has come of them."""

    def __init__(
        self,
        envs: VectorEnv,
        expert: ScriptedExpert,
        noise: float,
        labels: str,
        hold_steps: int,
        success: str,
        seed: int,
    ):
        self._envs, self._expert = envs, expert
        self._noise, self._hold_steps, self._seed = noise, hold_steps, seed
        self._labels, self._success = labels, success
        self._begun = 0
        self._running: dict[int, _Attempt] = {}
        self._results: dict[int, bool] = {}
        self._observations: Any = None
        self._kept: dict[int, Episode] = {}
        self._settled = 0
        action = envs.single_action_space
        self._low, self._high = action.low, action.high  # type: ignore[attr-defined]
        _, rgb = split_observation_space(envs.single_observation_space)
        self._channel_axis = None if rgb is None else channel_axis(rgb.shape)

    def counts(self) -> tuple[int, int]:
        """Attempts that have finished, and successes among them."""
        return len(self._results), sum(self._results.values())

    def settled(self) -> Iterator[tuple[int, Episode]]:
        """Successes with their numbers, once all attempts before them have finished."""
        while self._settled in self._results:
            number = self._settled
            self._settled += 1
            if number in self._kept:
                yield number, self._kept.pop(number)

    def step(self, wanted: int) -> None:
        """Begins attempts in free copies, where so many successes are wanted yet; then a step."""
        free = [row for row in range(self._envs.num_envs) if row not in self._running]
        self._begin(np.array(free[: max(0, 2 * wanted - len(self._running))], int))
        rows = np.array(sorted(self._running), int)
        actions = np.zeros((self._envs.num_envs, *self._low.shape), np.float32)
        intended = self._expert.act(rows)
        actions[rows] = self._clipped(intended + self._noises(rows))
        recorded = actions[rows] if self._labels == "executed" else self._clipped(intended)
        for row, action in zip(rows.tolist(), recorded, strict=True):
            self._write(row, action)
        self._observations, rewards, terminated, truncated, infos = self._envs.step(actions)
        invalid = np.asarray(infos.get("invalid", np.zeros(len(actions))), bool)
        for row in rows.tolist():
            self._running[row].episode.success.append(bool(infos["success"][row]))
            self._judge(
                row,
                float(rewards[row]),
                bool(infos[self._success][row]),
                bool(terminated[row]),
                bool(truncated[row] or invalid[row]),
            )

    def _begin(self, rows: Int[np.ndarray, " n"]) -> None:
        if not len(rows):
            return
        seeds: list[int | None] = [None] * self._envs.num_envs
        generators = []
        for row in rows.tolist():
            number, self._begun = self._begun, self._begun + 1
            seeds[row] = _env_seed(self._seed, number)
            own, for_noise = (np.random.default_rng(s) for s in _sequence(self._seed, number))
            generators.append(own)
            self._running[row] = _Attempt(number, self._draw_noise(for_noise))
        mask = np.isin(np.arange(self._envs.num_envs), rows)
        self._observations, _ = self._envs.reset(
            seed=seeds,  # type: ignore[arg-type]
            options={"reset_mask": mask},
        )
        self._expert.begin(rows, generators)

    def _draw_noise(self, generator: np.random.Generator) -> Float[np.ndarray, "T Da"]:
        fresh = generator.normal(size=(self._expert.max_steps, *self._low.shape))
        scale = self._noise * np.sqrt(1 - _CORRELATION**2)
        noise = lfilter([scale], [1, -_CORRELATION], fresh, axis=0)
        return noise * (self._high - self._low) / 2 * self._expert.noise_scale

    def _noises(self, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n Da"]:
        attempts = [self._running[row] for row in rows.tolist()]
        return np.array([attempt.noise[len(attempt.episode)] for attempt in attempts])

    def _clipped(self, actions: Float[np.ndarray, "n Da"]) -> Float32[np.ndarray, "n Da"]:
        return actions.astype(np.float32).clip(self._low, self._high)

    def _write(self, row: int, action: Float32[np.ndarray, " Da"]) -> None:
        """The observation before an action, and the action."""
        episode, seen = self._running[row].episode, self._observations
        episode.actions.append(action.copy())
        if self._channel_axis is not None:
            picture = np.moveaxis(seen[RGB][row], self._channel_axis, 0)
            episode.pictures.append(picture.copy())
            seen = seen[STATE]
        episode.observations.append(seen[row].astype(np.float32))

    def _judge(self, row: int, reward: float, success: bool, ended: bool, cut: bool) -> None:
        """What the action has led to, and whether the attempt is over."""
        attempt = self._running[row]
        episode = attempt.episode
        episode.rewards.append(reward)
        attempt.held = attempt.held + 1 if success else 0
        succeeded = attempt.held >= self._hold_steps or (success and ended)
        if succeeded or ended or cut or len(episode) >= self._expert.max_steps:
            del self._running[row]
            self._results[attempt.number] = succeeded
            if succeeded:
                episode.terminated, episode.truncated = ended, not ended
                self._kept[attempt.number] = episode


def _sequence(seed: int, number: int) -> list[np.random.SeedSequence]:
    """Of an attempt: for the expert's imperfections, and for the noise."""
    return np.random.SeedSequence(seed, spawn_key=(number,)).spawn(2)


def _env_seed(seed: int, number: int) -> int:
    return int(np.random.SeedSequence(seed, spawn_key=(number,)).generate_state(1)[0])


def _check(envs: VectorEnv, episodes: int, noise: float, labels: str, hold_steps: int) -> None:
    for name, value in (("episodes", episodes), ("hold_steps", hold_steps)):
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    if not 0 <= noise < np.inf:
        raise ValueError(f"noise={noise}: expected a number from 0")
    if labels not in LABELS:
        raise ValueError(f"labels={labels!r}: expected one of {list(LABELS)}")
    if envs.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
        raise ValueError(
            f"{envs}: autoreset_mode={envs.metadata.get('autoreset_mode')}, expected "
            "AutoresetMode.DISABLED"
        )
