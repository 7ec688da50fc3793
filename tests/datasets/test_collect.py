from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dppo_rllib.datasets.collect import by_row, record_episodes
from dppo_rllib.environments import reach_expert
from dppo_rllib.environments.pixel_reach import ENV_ID


class CountingEnv(gym.Env):
    """Observes (length of the episode, steps so far); pays the first action executed.

    An episode lasts 2 to 6 steps, drawn at its reset. Even lengths end terminated, odd ones
    truncated, and length 6 both at once.
    """

    metadata = {"render_fps": 50}
    observation_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gym.spaces.Box(-1.0, 1.0, (3,), np.float32)

    def __init__(self) -> None:
        self.closed = False
        self.executed: list[np.ndarray] = []
        self._observation = np.zeros(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._observation[:] = self.np_random.integers(2, 7), 0
        return self._observation, {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.executed.append(action.copy())
        self._observation[1] += 1  # in place, as some simulators do
        length, steps = self._observation
        over = bool(steps == length)
        even, cut = length % 2 == 0, length in (3, 5, 6)
        return self._observation, float(action[0]), over and bool(even), over and cut, {}

    def close(self) -> None:
        self.closed = True


class FilmedEnv(CountingEnv):
    """Shows what it observes, too; draws into the same array every time."""

    observation_space = gym.spaces.Dict(
        state=CountingEnv.observation_space, rgb=gym.spaces.Box(0, 255, (4, 5, 3), np.uint8)
    )

    def __init__(self) -> None:
        super().__init__()
        self._canvas = np.zeros((4, 5, 3), np.uint8)

    def _show(self, state: np.ndarray) -> dict[str, np.ndarray]:
        self._canvas[:] = self._canvas * 0 + np.arange(3) + 10 * int(state[1]) + 100
        self._canvas[0] = state[0]
        return {"state": state, "rgb": self._canvas}

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        return self._show(super().reset(**kwargs)[0]), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        state, *rest = super().step(action)
        return self._show(state), *rest


def noise(observations: Any, rng: np.random.Generator) -> np.ndarray:
    rows = observations["state"] if isinstance(observations, dict) else observations
    return rng.normal(size=(len(rows), 3))


def constant(value: float) -> Callable[[np.ndarray, np.random.Generator], np.ndarray]:
    return lambda observations, _rng: np.full((len(observations), 3), value)


def frames_of_episodes(values: np.ndarray, lengths: np.ndarray) -> list[np.ndarray]:
    return np.split(values, np.cumsum(lengths)[:-1])


def test_whole_episodes_are_recorded_in_order() -> None:
    demos = record_episodes(CountingEnv, noise, episodes=11, num_envs=4)
    assert demos.num_episodes == 11
    observations = frames_of_episodes(demos.observations, demos.episode_lengths)
    for episode, length in zip(observations, demos.episode_lengths, strict=True):
        assert (episode[:, 0] == length).all()
        assert episode[:, 1].tolist() == list(range(length))


def test_only_last_frames_end_an_episode_and_a_fall_at_the_limit_is_a_fall() -> None:
    demos = record_episodes(CountingEnv, noise, episodes=60, num_envs=7)
    last = np.cumsum(demos.episode_lengths) - 1
    even = demos.episode_lengths % 2 == 0
    assert set(demos.episode_lengths) == {2, 3, 4, 5, 6}
    assert (demos.terminated[last] == even).all()
    assert (demos.truncated[last] == ~even).all()
    assert demos.terminated.sum() + demos.truncated.sum() == 60


def test_success_is_that_of_each_step_where_the_environment_tells_it() -> None:
    class Succeeding(CountingEnv):
        def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            state, *rest, _ = super().step(action)
            return state, *rest, {"success": state[1] == 2}

    assert record_episodes(CountingEnv, noise, episodes=3).success is None
    demos = record_episodes(Succeeding, noise, episodes=11, num_envs=4)
    assert (demos.success == (demos.observations[:, 1] == 1)).all()


def test_long_episodes_are_as_likely_as_short_ones() -> None:
    # Every environment owes a fixed number of episodes: the lengths are those that the
    # environments drew, whichever finished first.
    demos = record_episodes(CountingEnv, noise, episodes=600, num_envs=200)
    counts = np.bincount(demos.episode_lengths, minlength=7)[2:]
    assert (np.abs(counts - 120) < 45).all()  # 4.5 standard deviations


def test_recorded_actions_are_those_executed_clipped_to_the_bounds() -> None:
    envs: list[CountingEnv] = []

    def make_env() -> gym.Env:
        envs.append(CountingEnv())
        return envs[-1]

    demos = record_episodes(make_env, noise, episodes=3, num_envs=1)
    (env,) = envs
    assert demos.actions.dtype == np.float32
    assert np.array_equal(demos.actions, np.stack(env.executed))
    assert demos.actions.min() == -1.0 and demos.actions.max() == 1.0
    assert np.array_equal(demos.rewards, demos.actions[:, 0])
    assert env.closed


def test_same_seed_same_episodes_other_seed_others() -> None:
    one, same, other = (
        record_episodes(CountingEnv, noise, episodes=9, num_envs=4, seed=seed) for seed in (5, 5, 6)
    )
    for field in ("observations", "actions", "rewards", "terminated", "episode_lengths"):
        assert np.array_equal(getattr(one, field), getattr(same, field)), field
    assert not np.array_equal(one.actions[:10], other.actions[:10])


def test_fewer_episodes_are_the_first_ones_of_more() -> None:
    few, many = (record_episodes(CountingEnv, noise, episodes=n, num_envs=4) for n in (6, 21))
    assert np.array_equal(few.observations, many.select(range(6)).observations)
    assert np.array_equal(few.actions, many.select(range(6)).actions)


def test_pictures_are_kept_channels_first_with_their_frames() -> None:
    demos = record_episodes(FilmedEnv, noise, episodes=11, num_envs=4)
    images = demos.images
    assert images is not None and images.shape == (demos.num_frames, 3, 4, 5)
    lengths, counts = demos.observations.T
    assert (images[:, :, 0] == lengths[:, None, None]).all()
    expected = 100 + 10 * counts[:, None, None, None] + np.arange(3)[:, None, None]
    assert (images[:, :, 1:] == expected).all()


def test_pictures_change_nothing_else() -> None:
    plain, filmed = (
        record_episodes(env, noise, episodes=7, num_envs=3) for env in (CountingEnv, FilmedEnv)
    )
    for field in ("observations", "actions", "rewards", "terminated", "truncated"):
        assert np.array_equal(getattr(plain, field), getattr(filmed, field)), field


def test_policies_see_the_pictures_of_their_rows() -> None:
    def by_picture(observations: Any, _rng: np.random.Generator) -> np.ndarray:
        """The step, which the picture shows."""
        assert observations["rgb"].shape[1:] == (3, 4, 5) and observations["rgb"].dtype == np.uint8
        steps = (observations["rgb"][:, 0, 1, 0].astype(float) - 100) / 10
        return np.repeat(steps[:, None] / 10, 3, axis=1)

    demos = record_episodes(FilmedEnv, by_row([by_picture] * 2), episodes=6, num_envs=6)
    np.testing.assert_allclose(demos.actions[:, 0], demos.observations[:, 1] / 10, rtol=1e-6)


def test_the_expert_of_pixel_reach_is_recorded() -> None:
    demos = record_episodes(
        lambda: gym.make(ENV_ID), reach_expert(0.3), episodes=20, num_envs=5, task="Reach."
    )
    assert demos.images is not None and demos.images.shape[1:] == (3, 24, 24)
    assert demos.terminated.sum() > 15 and demos.episode_lengths.max() <= 25


def test_environments_differ_under_one_seed() -> None:
    demos = record_episodes(CountingEnv, noise, episodes=30, num_envs=30)
    assert len(set(demos.episode_lengths)) > 2


def test_frame_rate_and_task_are_kept() -> None:
    demos = record_episodes(CountingEnv, noise, episodes=2, task="Count.")
    assert demos.fps == 50.0
    assert demos.task == "Count."


def test_progress_counts_every_episode() -> None:
    seen: list[tuple[int, int]] = []
    record_episodes(CountingEnv, noise, episodes=5, progress=lambda *done: seen.append(done))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_policies_take_turns_by_row() -> None:
    policy = by_row([constant(0.25), constant(0.5), constant(0.75)])
    demos = record_episodes(CountingEnv, policy, episodes=6, num_envs=6)
    firsts = demos.actions[np.cumsum(demos.episode_lengths) - 1, 0]
    assert firsts.tolist() == [0.25, 0.5, 0.75, 0.25, 0.5, 0.75]


def test_more_policies_than_rows_use_the_first_ones() -> None:
    policy = by_row([constant(0.25), constant(0.5)])
    assert policy(np.zeros((1, 2), np.float32), np.random.default_rng()).tolist() == [[0.25] * 3]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"episodes": 0}, "episodes = 0: must be at least 1"),
        ({"episodes": 1, "num_envs": 0}, "num_envs = 0: must be at least 1"),
    ],
)
def test_counts_must_be_positive(kwargs: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        record_episodes(CountingEnv, noise, **kwargs)


def test_actions_of_wrong_shape_are_named() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 2\), expected \(1, 3\)"):
        record_episodes(CountingEnv, lambda obs, _: np.zeros((len(obs), 2)), episodes=1)


def test_actions_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        record_episodes(CountingEnv, constant(np.nan), episodes=1)


def test_no_policy_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one policy"):
        by_row([])
