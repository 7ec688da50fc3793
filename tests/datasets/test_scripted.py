from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from recordings import record_all

from dppo_rllib.datasets.scripted import record_successes
from dppo_rllib.errors import UserError

LIMIT = 40


class Counters(VectorEnv):
    """Adds up the first actions; success is a sum of at least a goal that the seed draws."""

    def __init__(self, num_envs: int, pixels: bool = False, ends: bool = False):
        self.num_envs, self.pixels, self.ends = num_envs, pixels, ends
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_fps": 10}
        state = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        rgb = gym.spaces.Box(0, 255, (4, 5, 3), np.uint8)
        self.single_observation_space = gym.spaces.Dict(state=state, rgb=rgb) if pixels else state
        self.single_action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.state = np.zeros((num_envs, 2), np.float32)
        self.steps = np.zeros(num_envs, int)

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = (options or {})["reset_mask"]
        for row in np.flatnonzero(mask):
            self.state[row] = 0, np.random.default_rng(seed[row]).integers(1, 20)
        self.steps[mask] = 0
        return self._observe(), {}

    def step(self, actions: np.ndarray) -> Any:
        self.state[:, 0] += actions[:, 0]
        self.steps += 1
        success = self.state[:, 0] >= self.state[:, 1]
        # A sum of 5 to 6 breaks the simulator, where the goal is further.
        invalid = (np.floor(self.state[:, 0]) == 5) & (self.state[:, 1] == 13)
        cut = self.steps >= LIMIT
        infos = {"success": success, "invalid": invalid}
        return self._observe(), success.astype(np.float32), success & self.ends, cut, infos

    def _observe(self) -> Any:
        state = self.state.copy()
        if not self.pixels:
            return state
        pictures = np.zeros((self.num_envs, 4, 5, 3), np.uint8)
        pictures[:] = (10 * state[:, :1, None, None]).clip(0, 255).astype(np.uint8)
        return {"state": state, "rgb": pictures}


class Adder:
    """Adds 1, or stands still in a fifth of the episodes; 0.5 for what is not disturbed."""

    max_steps = LIMIT + 10
    noise_scale = np.array([1.0, 0.0])

    def __init__(self, envs: Counters, lazy: float = 0.2):
        self.lazy, self.speed = lazy, np.zeros(envs.num_envs)

    def begin(self, rows: np.ndarray, generators: Sequence[np.random.Generator]) -> None:
        for row, generator in zip(rows, generators, strict=True):
            self.speed[row] = generator.random() >= self.lazy

    def act(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([self.speed[rows], np.full(len(rows), 0.5)], axis=-1)


def record(num_envs: int = 4, pixels: bool = False, lazy: float = 0.2, **kwargs: Any) -> Any:
    envs = Counters(num_envs, pixels)
    return record_all(envs, Adder(envs, lazy), **{"episodes": 12, "noise": 0.2} | kwargs)


def same(one: Any, other: Any) -> bool:
    fields = ("observations", "actions", "rewards", "terminated", "truncated", "episode_lengths")
    a, b = one.demonstrations, other.demonstrations
    return all(np.array_equal(getattr(a, field), getattr(b, field)) for field in fields)


def test_only_what_has_succeeded_and_lasted_is_kept() -> None:
    recording = record(hold_steps=3)
    demos = recording.demonstrations
    assert demos.num_episodes == 12 and demos.fps == 10
    for rewards in np.split(demos.rewards, demos.episode_starts[1:]):
        assert rewards[-3:].tolist() == [1, 1, 1] and len(rewards) < LIMIT
    last = demos.episode_starts + demos.episode_lengths - 1
    assert demos.truncated[last].all() and demos.truncated.sum() == 12
    assert not demos.terminated.any()
    assert recording.attempts > 12


def test_an_episode_that_the_environment_ends_with_success_is_kept_as_it_ended() -> None:
    envs = Counters(4, ends=True)
    demos = record_all(envs, Adder(envs), episodes=12, noise=0.2).demonstrations
    last = demos.episode_starts + demos.episode_lengths - 1
    assert demos.terminated[last].all() and demos.terminated.sum() == 12
    assert not demos.truncated.any()
    assert demos.rewards.sum() == 12 and (demos.rewards[last] == 1).all()


def test_success_has_the_name_that_it_is_given() -> None:
    class Renamed(Counters):
        def step(self, actions: np.ndarray) -> Any:
            *rest, infos = super().step(actions)
            return *rest, {"success": infos["success"] & False, "reached": infos["success"]}

    envs = Renamed(4)
    recording = record_all(envs, Adder(envs), episodes=3, success="reached")
    assert recording.demonstrations.num_episodes == 3


def test_noise_is_a_share_of_the_range_of_actions() -> None:
    envs = Counters(1)
    envs.single_action_space = gym.spaces.Box(-10, 10, (2,), np.float32)
    demos = record_all(envs, Adder(envs, 0.0), episodes=20, noise=0.05).demonstrations
    assert 0.4 < (demos.actions[:, 0] - 1).std() < 0.6
    assert (demos.actions[:, 1] == 0.5).all()


def test_simulations_that_have_failed_are_no_success() -> None:
    demos = record(episodes=60).demonstrations
    goals = demos.observations[demos.episode_starts, 1]
    assert 13 not in goals and {12, 14} <= set(goals)


def test_success_is_recorded_step_by_step() -> None:
    demos = record(hold_steps=3).demonstrations
    assert (demos.success == (demos.rewards == 1)).all() and not demos.success.all()


def test_episodes_come_while_others_are_tried() -> None:
    seen: list[tuple[int, int]] = []
    envs = Counters(2)
    successes = record_successes(
        envs, Adder(envs), episodes=12, progress=lambda *done: seen.append(done)
    )
    first = next(successes)
    assert seen[-1][0] < 6 and first.demonstration.num_episodes == 1
    assert len(list(successes)) == 11 and seen[-1][0] > 12


def test_the_number_of_copies_changes_nothing() -> None:
    one, some, many = (record(num_envs) for num_envs in (1, 5, 30))
    assert same(one, some) and same(one, many)
    assert one.attempts == some.attempts == many.attempts
    assert np.array_equal(one.seeds, many.seeds)


def test_the_seed_changes_everything() -> None:
    assert same(record(seed=1), record(seed=1))
    assert not same(record(seed=1), record(seed=2))


def test_fewer_episodes_are_the_first_of_more() -> None:
    few, more = record(episodes=5), record(episodes=20)
    first = more.demonstrations.select(range(5))
    assert np.array_equal(few.demonstrations.actions, first.actions)
    assert np.array_equal(few.seeds, more.seeds[:5])


def test_long_episodes_are_not_left_out() -> None:
    lengths = record(30, lazy=0.0, episodes=30, noise=0.0, hold_steps=1).demonstrations
    # Goals are 1 to 19, as drawn: those that take 13 steps always fail.
    assert 8 < lengths.episode_lengths.mean() < 12


def test_observations_are_those_before_the_recorded_actions() -> None:
    demos = record().demonstrations
    inside = np.setdiff1d(np.arange(demos.num_frames - 1), demos.episode_starts[1:] - 1)
    sums = demos.observations[:, 0]
    assert not sums[demos.episode_starts].any()
    np.testing.assert_allclose(sums[inside + 1], sums[inside] + demos.actions[inside, 0], rtol=1e-5)


def test_intended_actions_are_recorded_without_the_noise_that_was_executed() -> None:
    executed, intended = record(), record(labels="intended")
    demos = intended.demonstrations
    assert (demos.actions == np.float32([1, 0.5])).all()
    assert np.array_equal(demos.observations, executed.demonstrations.observations)
    assert not same(executed, intended)


def test_noise_is_correlated_bounded_and_spares_what_must_not_be_disturbed() -> None:
    quiet, loud = record(noise=0.0).demonstrations, record(noise=0.2, lazy=0.0).demonstrations
    assert (quiet.actions == np.float32([1, 0.5])).all()
    assert (loud.actions[:, 1] == 0.5).all() and loud.actions[:, 0].max() == 1.0
    below = loud.actions[:, 0] < 1
    assert (below[1:] == below[:-1]).mean() > 0.65


def test_pictures_are_kept_channels_first() -> None:
    plain, filmed = record(), record(pixels=True)
    assert same(plain, filmed)
    demos = filmed.demonstrations
    assert demos.images.shape == (demos.num_frames, 3, 4, 5)
    expected = (10 * demos.observations[:, 0]).clip(0, 255).astype(np.uint8)
    assert (demos.images == expected[:, None, None, None]).all()


def test_progress_ends_with_what_is_returned() -> None:
    seen: list[tuple[int, int]] = []
    recording = record(progress=lambda tried, kept: seen.append((tried, kept)))
    assert seen[0] == (0, 0) and seen[-1] == (recording.attempts, 12)


def test_an_expert_that_cannot_do_it_is_given_up() -> None:
    with pytest.raises(UserError, match="0 of 40 attempts have succeeded"):
        record(lazy=1.0, episodes=2, noise=0.0)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"episodes": 0}, "episodes=0: expected at least 1"),
        ({"hold_steps": 0}, "hold_steps=0: expected at least 1"),
        ({"noise": -0.1}, "noise=-0.1: expected a number from 0"),
        ({"labels": "meant"}, r"labels='meant': expected one of \['executed', 'intended'\]"),
    ],
)
def test_arguments_out_of_range_are_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record(**kwargs)


def test_environments_that_restart_by_themselves_are_refused() -> None:
    envs = Counters(2)
    envs.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
    with pytest.raises(ValueError, match="DISABLED"):
        record_all(envs, Adder(envs), episodes=1)
