"""Chunks of environments whose every number is known."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st
from small_environments import Counter, Walk

from dppo_rllib.environments import Normalization, make_chunked_env


def step(env, value=0.0):
    return env.step(np.full(env.action_space.shape, value, np.float32))


# --- The end of an episode ----------------------------------------------------------------------


@pytest.mark.parametrize("how", ["terminated", "truncated", "both"])
@pytest.mark.parametrize("length", [1, 2, 3])
def test_the_end_of_an_episode_stops_the_chunk_wherever_it_falls(make, how, length):
    env = make(Counter, env_kwargs={"lengths": (length, 1000), "ends": (how,)})
    env.reset()
    obs, reward, terminated, truncated, infos = step(env)
    assert infos["env_steps"] == length and reward == sum(range(1, length + 1))
    assert terminated == (how != "truncated") and truncated == (how != "terminated")
    assert infos["final_obs"]["state"].tolist() == [[[0, length - 1], [0, length]]]
    assert obs["state"].tolist() == [[[1, 0], [1, 0]]]
    assert not infos["invalid"]


def test_without_an_end_the_episode_goes_on_in_the_next_chunk(make):
    env = make(Counter)
    assert env.reset()[0]["state"].tolist() == [[[0, 0], [0, 0]]]
    for last, total in ((3, 1 + 2 + 3), (6, 4 + 5 + 6)):
        obs, reward, terminated, truncated, infos = step(env)
        assert reward == total and infos["env_steps"] == 3 and not terminated and not truncated
        assert obs["state"].tolist() == [[[0, last - 1], [0, last]]]


def test_a_history_longer_than_the_chunk_reaches_into_earlier_ones(make):
    env = make(Counter, act_steps=2, cond_steps=4)
    env.reset()
    histories = [step(env)[0]["state"][0, :, 1].tolist() for _ in range(3)]
    assert histories == [[0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 6]]


def test_a_simulator_may_reuse_its_observation_array(make):
    env = make(Counter, env_kwargs={"reuse": True, "lengths": (5,)})
    env.reset()
    assert step(env)[0]["state"].tolist() == [[[0, 2], [0, 3]]]
    obs, *_, infos = step(env)
    assert infos["final_obs"]["state"].tolist() == [[[0, 4], [0, 5]]]
    assert obs["state"].tolist() == [[[1, 0], [1, 0]]]


def test_sub_environments_end_each_for_itself(make_serial):
    # The first is built to learn its spaces.
    lengths = iter([(9,), (2,), (3,), (9,)])
    env = make_serial(lambda: Counter(lengths=next(lengths)), 3)
    env.reset()
    _, reward, terminated, _, infos = step(env)
    assert infos["env_steps"].tolist() == [2, 3, 3] and reward.tolist() == [3, 6, 6]
    assert terminated.tolist() == [True, True, False]


def test_success_in_any_step_of_the_chunk_counts(make):
    env = make(Counter, env_kwargs={"success_at": 2, "lengths": (5,)})
    env.reset()
    reports = [step(env)[-1] for _ in range(4)]
    assert [bool(r["success"][0]) for r in reports] == [True, False, True, False]
    assert all(r["has_success"].all() for r in reports)


def test_success_is_not_told_where_there_is_no_such_thing(make):
    env = make(Counter)
    env.reset()
    assert "success" not in step(env)[-1]


# --- The official multi-step wrapper ------------------------------------------------------------


def _official(make, chunks):
    """Its toy environment: every other episode terminates at step 5, all are cut after 7."""
    env = make(Counter, env_kwargs={"lengths": (1000, 5)}, max_episode_steps=7)
    histories, rest = [env.reset()[0]["state"][0]], []
    for _ in range(chunks):
        obs, *scalars, _ = step(env)
        histories.append(obs["state"][0])
        rest.append(scalars)
    return np.stack(histories), *np.array(rest)[:, :, 0].T


def test_the_official_wrapper_is_reproduced(make, golden):
    obs, reward, terminated, truncated = _official(make, 10)
    np.testing.assert_array_equal(obs, golden["ms/term_obs"])
    np.testing.assert_array_equal(reward, golden["ms/term_reward"])
    np.testing.assert_array_equal(terminated, golden["ms/term_terminated"])
    np.testing.assert_array_equal(truncated, golden["ms/term_truncated"])


def test_a_time_limit_truncates_only_where_the_official_wrapper_terminates_too(make, golden):
    obs, reward, terminated, truncated = _official(make, 10)
    np.testing.assert_array_equal(obs, golden["ms/tl_obs"])
    np.testing.assert_array_equal(reward, golden["ms/tl_reward"])
    np.testing.assert_array_equal(truncated, golden["ms/tl_truncated"])
    official, at_limit = golden["ms/tl_terminated"], golden["ms/tl_truncated"]
    assert official[at_limit].all() and not terminated[at_limit.astype(bool)].any()
    np.testing.assert_array_equal(terminated[~at_limit], official[~at_limit])


# --- A plain loop --------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    ends=st.lists(st.sampled_from(["terminated", "truncated", "both"]), min_size=1, max_size=3),
    act_steps=st.integers(1, 8),
    cond_steps=st.integers(1, 4),
    limit=st.none() | st.integers(1, 9),
)
def test_episodes_are_those_of_a_plain_loop(lengths, ends, act_steps, cond_steps, limit):
    kwargs = {"lengths": lengths, "ends": ends}
    env = make_chunked_env(
        *(Counter, 1),
        act_steps=act_steps,
        cond_steps=cond_steps,
        env_kwargs=kwargs,
        max_episode_steps=limit,
    )
    env.reset()
    chunked, env_steps, total = [], 0, 0.0
    while len(chunked) < 5:
        _, reward, terminated, truncated, infos = step(env)
        env_steps, total = env_steps + infos["env_steps"][0], total + reward[0]
        if terminated[0] or truncated[0]:
            last = infos["final_obs"]["state"][0, -1].tolist()
            chunked.append((env_steps, total, last, terminated[0], truncated[0]))
            env_steps, total = 0, 0.0
    plain = Counter(**kwargs) if limit is None else TimeLimit(Counter(**kwargs), limit)
    for expected in chunked:
        plain.reset()
        env_steps, total, terminated, truncated = 0, 0.0, False, False
        while not (terminated or truncated):
            obs, reward, terminated, truncated, _ = plain.step(np.zeros(1, np.float32))
            env_steps, total = env_steps + 1, total + reward
        assert (env_steps, total, obs.tolist(), terminated, truncated) == expected


def test_hopper_in_chunks_of_one_is_hopper(make_serial):
    env = make_serial("Hopper-v5", act_steps=1, cond_steps=1)
    plain = gymnasium.make("Hopper-v5")
    expected, _ = plain.reset(seed=3)
    obs, _ = env.reset(seed=3)
    np.testing.assert_array_equal(obs["state"][0, 0], expected.astype(np.float32))
    # Multiples of 2^-10: scaling to [-1, 1] and back does not round them.
    actions = np.random.default_rng(0).integers(-1024, 1025, (200, 3)) / np.float32(1024)
    ends = 0
    for action in actions.astype(np.float32):
        obs, reward, terminated, truncated, infos = env.step(action[None, None])
        expected, expected_reward, *flags, _ = plain.step(action)
        assert [terminated[0], truncated[0]] == flags and reward[0] == np.float32(expected_reward)
        final = infos["final_obs"]["state"][0, 0]
        np.testing.assert_array_equal(final, expected.astype(np.float32))
        if any(flags):
            ends += 1
            expected, _ = plain.reset()
        np.testing.assert_array_equal(obs["state"][0, 0], expected.astype(np.float32))
    assert ends > 3
    plain.close()


# --- Normalisation and actions ------------------------------------------------------------------


def test_observations_are_normalised_wherever_they_appear(make):
    ranges = [np.array(x, np.float32) for x in ([0, 0], [4, 8], [-1], [1])]
    normalization = Normalization(*ranges)
    env = make(Counter, normalization=normalization, env_kwargs={"lengths": (2,)})
    env.reset()
    obs, *_, infos = step(env)
    for actual, raw in ((obs, [[1, 0], [1, 0]]), (infos["final_obs"], [[0, 1], [0, 2]])):
        expected = normalization.normalize_obs(np.array([raw], np.float32))
        np.testing.assert_array_equal(actual["state"], expected)


class _Bounded(Counter):
    metadata = Counter.metadata | {"normalized_bound": 5.0}


@pytest.mark.parametrize("upper, largest", [(0.1, 5.0), (None, np.inf)])
def test_normalised_states_are_clipped_where_the_environment_says_so(make, upper, largest):
    """But not those that are shown as they are."""
    ends = [None, None] if upper is None else [np.full(2, x, np.float32) for x in (0.0, upper)]
    normalization = Normalization(*ends, *(np.array([x], np.float32) for x in (-1, 1)))
    bounded, plain = (make(kind, normalization=normalization) for kind in (_Bounded, Counter))
    for env in (bounded, plain):
        env.reset()
    for _ in range(4):
        shown, free = step(bounded)[0]["state"], step(plain)[0]["state"]
        np.testing.assert_array_equal(shown, free.clip(-largest, largest))
    assert free.max() > 5


class _Recorder(Walk):
    """Its observation is the action."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2), {}

    def step(self, action):
        assert action in self.action_space
        return action, 0.0, False, False, {}


@pytest.mark.parametrize("value", [-1, 1])
def test_the_ends_of_the_range_are_the_bounds_of_the_simulator(make, value):
    env = make(_Recorder, cond_steps=1)
    env.reset()
    obs = step(env, value)[0]["state"][0, 0]
    bound = Walk.action_space.low if value < 0 else Walk.action_space.high
    np.testing.assert_array_equal(obs, bound.astype(np.float32))


def test_actions_of_wider_data_are_cut_to_the_bounds_of_the_simulator(make):
    ends = [np.array(x, np.float32) for x in ([-9, -9], [9, 9])]
    env = make(_Recorder, cond_steps=1, normalization=Normalization(None, None, *ends))
    env.reset()
    assert step(env, 1)[0]["state"][0, 0] == pytest.approx(Walk.action_space.high)


# --- Pictures ------------------------------------------------------------------------------------


def test_there_is_a_picture_of_every_step_of_the_first_sub_environment(make_serial):
    env = make_serial(Counter, 2, render_mode="rgb_array", env_kwargs={"lengths": (4,)})
    env.reset()
    step(env)
    step(env)
    assert [frame[0, 0, 0] for frame in env.pop_frames()] == [1, 2, 3, 4]
    assert env.pop_frames() == []
    step(env)
    assert len(env.pop_frames()) == 3


def test_a_fast_simulator_is_filmed_at_no_more_than_thirty_pictures_a_second(make_serial):
    class Fast(Counter):
        metadata = {**Counter.metadata, "render_fps": 50}

    env = make_serial(Fast, render_mode="rgb_array", env_kwargs={"lengths": (5,)})
    env.reset()
    step(env)
    step(env)
    assert [frame[0, 0, 0] for frame in env.pop_frames()] == [1, 3, 5]
    assert env.metadata["render_fps"] == 25


def test_no_pictures_are_made_of_others(make_serial):
    env = make_serial(Counter, 2, render_mode="rgb_array")
    env.reset()
    step(env)
    assert env._envs._envs[1].frames == []


def test_pictures_that_were_not_asked_for_are_an_error(make, make_serial):
    with pytest.raises(ValueError, match="render_mode=None: expected 'rgb_array'"):
        make(Counter).pop_frames()
    filmed = make_serial(Counter, render_mode="rgb_array", vectorization="async")
    with pytest.raises(ValueError, match="vectorization='async': expected 'sync'"):
        filmed.pop_frames()


# --- Building ------------------------------------------------------------------------------------


def test_an_id_may_name_the_module_that_registers_it(make_serial, tmp_path, monkeypatch):
    (tmp_path / "registers_counter.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('Counter-v7', 'small_environments:Counter', max_episode_steps=4)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = make_serial("registers_counter:Counter-v7", act_steps=9)
    env.reset()
    assert step(env)[-1]["env_steps"] == 4
    limited = make_serial("Counter-v7", act_steps=9, max_episode_steps=6)
    limited.reset()
    assert step(limited)[-1]["env_steps"] == 6
    gymnasium.registry.pop("Counter-v7")
    sys.modules.pop("registers_counter")


def _space(**spaces):
    """A builder of environments with other spaces."""

    def build():
        env = Counter()
        for name, space in spaces.items():
            setattr(env, name, space)
        return env

    return build


BOX = gymnasium.spaces.Box


@pytest.mark.parametrize(
    ("env", "kwargs", "error", "message"),
    [
        (Counter, {"num_envs": 0}, ValueError, "num_envs=0: expected at least 1"),
        (Counter, {"act_steps": 0}, ValueError, "act_steps=0: expected at least 1"),
        (Counter, {"cond_steps": -1}, ValueError, "cond_steps=-1: expected at least 1"),
        (Counter, {"max_episode_steps": 0}, ValueError, "max_episode_steps=0: expected at least"),
        (Counter, {"vectorization": "x"}, ValueError, "vectorization='x': expected 'auto', 'sync'"),
        ("Absent-v0", {}, ValueError, "env='Absent-v0': expected a registered Gymnasium id"),
        ("absent:A-v0", {}, ValueError, "env='absent:A-v0': expected .*No module named 'absent'"),
        (3, {}, TypeError, "env"),
        (dict, {}, TypeError, r"env=<class 'dict'>: returned \{\}, expected a gymnasium.Env"),
        (
            _space(observation_space=gymnasium.spaces.Dict(a=BOX(0, 1, (2,)))),
            {},
            ValueError,
            r"observation_space=Dict\(.*expected a Box of one dimension",
        ),
        (
            _space(observation_space=BOX(0, 1, (2, 3))),
            {},
            ValueError,
            r"observation_space=Box\(.*\(2, 3\).*: expected a Box of one dimension",
        ),
        (
            _space(action_space=gymnasium.spaces.Discrete(3)),
            {},
            ValueError,
            r"action_space=Discrete\(3\): expected a Box of one dimension",
        ),
        (
            _space(action_space=BOX(0, 9, (1,), np.int64)),
            {},
            ValueError,
            "action_space=Box.*int64.*: expected a Box of floats",
        ),
        (
            _space(action_space=BOX(-np.inf, 1, (1,))),
            {},
            ValueError,
            "action_space=Box.*: unbounded; expected a normalization",
        ),
        (
            Counter,
            {"normalization": Normalization(*[np.zeros(k, np.float32) for k in (5, 5, 1, 1)])},
            ValueError,
            "normalization.obs_min: 5 entries, expected 2",
        ),
        (
            Counter,
            {"normalization": Normalization(*[np.zeros(k, np.float32) for k in (2, 2, 3, 3)])},
            ValueError,
            "normalization.action_min: 3 entries, expected 1",
        ),
    ],
)
def test_what_cannot_be_built_is_named(make_serial, env, kwargs, error, message):
    with pytest.raises(error, match=message):
        make_serial(env, **{"num_envs": 1, **kwargs})


def test_sub_environments_of_different_spaces_are_refused(make_serial):
    highs = iter([1, 1, 2])
    with pytest.raises(ValueError, match="action_space of environment 1: .*expected that of"):
        make_serial(lambda: _space(action_space=BOX(-1, next(highs), (1,)))(), 2)
