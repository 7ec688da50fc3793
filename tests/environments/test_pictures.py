"""Environments with pictures: `Shown` tells episode and step in its state and in its picture."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AddRenderObservation
from hypothesis import given, settings
from hypothesis import strategies as st
from small_environments import Counter, Shown, TwoPartError, picture

from dppo_rllib.environments import Normalization, make_chunked_env
from dppo_rllib.environments.observation_spaces import channel_axis, channels_first

BOX = gymnasium.spaces.Box


def step(env):
    return env.step(np.zeros(env.action_space.shape, np.float32))


def pictures(*shown, channels=3):
    """`[1, Ti, C, H, W]` of (episode, step) pairs."""
    return np.stack([picture(episode, count, channels) for episode, count in shown])[None]


# --- Histories -----------------------------------------------------------------------------------


def test_the_space_says_what_comes_out(make):
    env = make(Shown, 2, cond_steps=4, img_cond_steps=2)
    space = env.single_observation_space
    assert space["state"] == BOX(-np.inf, np.inf, (4, 2), np.float32)
    assert space["rgb"] == BOX(0, 255, (2, 3, 4, 7), np.uint8)
    assert env.observation_space["rgb"].shape == (2, 2, 3, 4, 7)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_channels_first_bit_for_bit_wherever_the_simulator_has_them(
    make, channels, last
):
    env = make(Shown, env_kwargs={"channels": channels, "last": last})
    obs, _ = env.reset()
    np.testing.assert_array_equal(obs["rgb"], pictures((0, 0), channels=channels))
    obs, *_ = step(env)
    np.testing.assert_array_equal(obs["rgb"], pictures((0, 3), channels=channels))
    assert obs["rgb"].dtype == np.uint8 and obs["rgb"].flags.c_contiguous


def test_two_cameras_lie_one_after_the_other(make):
    """As six channels, which a channels-last picture may have too if it is large enough."""

    class TwoCameras(Counter):
        observation_space = gymnasium.spaces.Dict(
            state=BOX(-1, 1, (1,)), rgb=BOX(0, 255, (8, 9, 6), np.uint8)
        )

        def _observe(self):
            return {"state": np.zeros(1), "rgb": np.tile(np.arange(6, dtype=np.uint8), (8, 9, 1))}

    obs, _ = make(TwoCameras).reset()
    assert obs["rgb"].shape == (1, 1, 6, 8, 9)
    assert (obs["rgb"][0, 0] == np.arange(6)[:, None, None]).all()


def test_both_histories_have_their_own_length(make):
    env = make(Shown, act_steps=2, cond_steps=1, img_cond_steps=4)
    env.reset()
    for shown in ([0, 0, 1, 2], [1, 2, 3, 4], [3, 4, 5, 6]):
        obs, *_ = step(env)
        np.testing.assert_array_equal(obs["rgb"], pictures(*((0, count) for count in shown)))
        assert obs["state"].tolist() == [[[0, shown[-1]]]]


def test_the_last_pictures_of_an_episode_are_told_beside_the_first_of_the_next(make):
    env = make(Shown, img_cond_steps=2, env_kwargs={"lengths": (2,)})
    env.reset()
    obs, *_, infos = step(env)
    np.testing.assert_array_equal(infos["final_obs"]["rgb"], pictures((0, 1), (0, 2)))
    np.testing.assert_array_equal(obs["rgb"], pictures((1, 0), (1, 0)))
    assert infos["final_obs"]["state"].tolist() == [[[0, 1], [0, 2]]]
    assert obs["state"].tolist() == [[[1, 0], [1, 0]]]


def test_a_simulator_may_draw_into_the_same_array(make):
    env = make(Shown, img_cond_steps=3, env_kwargs={"reuse": True, "lengths": (5,), "last": True})
    env.reset()
    np.testing.assert_array_equal(step(env)[0]["rgb"], pictures((0, 1), (0, 2), (0, 3)))
    *_, infos = step(env)
    np.testing.assert_array_equal(infos["final_obs"]["rgb"], pictures((0, 3), (0, 4), (0, 5)))


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    act_steps=st.integers(1, 5),
    cond_steps=st.integers(1, 4),
    img_cond_steps=st.integers(1, 4),
    last=st.booleans(),
)
def test_pictures_and_states_tell_the_same_steps(
    lengths, act_steps, cond_steps, img_cond_steps, last
):
    env = make_chunked_env(
        *(Shown, 1),
        act_steps=act_steps,
        cond_steps=max(cond_steps, img_cond_steps),
        img_cond_steps=img_cond_steps,
        env_kwargs={"lengths": lengths, "last": last},
    )
    histories = [env.reset()[0]]
    for _ in range(8):
        obs, *_, infos = step(env)
        histories += [obs, infos["final_obs"]]
    for obs in histories:
        told = obs["state"][0, -img_cond_steps:].astype(int).tolist()
        np.testing.assert_array_equal(obs["rgb"], pictures(*told))


def test_only_states_are_normalised(make):
    ranges = [np.array(x, np.float32) for x in ([0, 0], [4, 8], [-1], [1])]
    normalization = Normalization(*ranges)
    env = make(Shown, cond_steps=1, normalization=normalization)
    env.reset()
    obs, *_ = step(env)
    expected = normalization.normalize_obs(np.array([[[0, 3]]], np.float32))
    np.testing.assert_array_equal(obs["state"], expected)
    np.testing.assert_array_equal(obs["rgb"], pictures((0, 3)))


# --- What environments do beside ------------------------------------------------------------------


def test_time_limits_and_success_are_those_of_states(make):
    env = make(Shown, act_steps=9, max_episode_steps=4, env_kwargs={"success_at": 2})
    env.reset()
    obs, _, terminated, truncated, infos = step(env)
    assert truncated and not terminated and infos["success"] and infos["env_steps"] == 4
    np.testing.assert_array_equal(infos["final_obs"]["rgb"], pictures((0, 4)))


def test_they_are_filmed_as_others(make_serial):
    env = make_serial(Shown, 2, render_mode="rgb_array", env_kwargs={"lengths": (4,)})
    env.reset()
    step(env)
    step(env)
    assert [frame[0, 0, 0] for frame in env.pop_frames()] == [1, 2, 3, 4]


def test_gymnasium_adds_rendered_pictures_to_any_environment(make):
    class Large(Counter):
        def render(self):
            return np.full((8, 9, 3), self.count, np.uint8)

    env = make(
        lambda: AddRenderObservation(
            Large(render_mode="rgb_array"), render_only=False, render_key="rgb", obs_key="state"
        )
    )
    env.reset()
    obs, *_ = step(env)
    assert obs["rgb"].shape == (1, 1, 3, 8, 9) and (obs["rgb"] == 3).all()
    assert obs["state"][0, :, 1].tolist() == [2, 3]


def test_an_id_may_name_the_module_that_registers_it(make, tmp_path, monkeypatch):
    (tmp_path / "registers_shown.py").write_text(
        "import gymnasium\ngymnasium.register('Shown-v7', 'small_environments:Shown')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    env = make("registers_shown:Shown-v7")
    np.testing.assert_array_equal(env.reset()[0]["rgb"], pictures((0, 0)))
    gymnasium.registry.pop("Shown-v7")
    sys.modules.pop("registers_shown")


# --- Failures ------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:overflow encountered in cast", "ignore:.*ERROR")
class TestFailures:
    @pytest.mark.parametrize(
        "fault",
        ["nan", "huge", "reward", "huge reward", "raise", "float picture", "small picture"],
    )
    def test_a_failure_truncates_and_its_step_leaves_no_trace(self, make, fault):
        env = make(Shown, img_cond_steps=2, env_kwargs={"fault": fault, "at": 3})
        env.reset()
        for _ in range(3):
            obs, reward, terminated, truncated, infos = step(env)
            assert infos["invalid"] and truncated and not terminated
            assert infos["env_steps"] == 2 and reward == 1 + 2
            np.testing.assert_array_equal(infos["final_obs"]["rgb"], pictures((0, 1), (0, 2)))
            assert infos["final_obs"]["state"].tolist() == [[[0, 1], [0, 2]]]
            np.testing.assert_array_equal(obs["rgb"], pictures((0, 0), (0, 0)))

    @pytest.mark.parametrize(
        ("fault", "error", "message"),
        [
            ("raise", TwoPartError, "3 at step"),
            ("nan", FloatingPointError, r"observation \[nan.*expected numbers that are finite"),
            ("float picture", ValueError, r"rgb is float64 of shape \(3, 4, 7\), expected uint8"),
            ("small picture", ValueError, r"rgb is uint8 of shape \(1, 4, 7\), .* \(3, 4, 7\)"),
        ],
    )
    def test_the_third_failure_without_a_valid_step_raises(self, make, fault, error, message):
        env = make(Shown, 2, env_kwargs={"fault": fault, "at": 1})
        env.reset()
        assert step(env)[-1]["invalid"].all() and step(env)[-1]["invalid"].all()
        with pytest.raises(error, match=message):
            step(env)
        env.close()

    def test_a_reset_that_fails_now_and_then_is_repeated(self, make):
        env = make(Shown, env_kwargs={"fault": "nan", "lengths": (2,), "resets": (1,)})
        env.reset()
        for _ in range(3):
            obs, _, terminated, _, infos = step(env)
            assert terminated and not infos["invalid"]
            np.testing.assert_array_equal(obs["rgb"], pictures((0, 0)))


# --- Spaces --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "axis", "first"),
    [
        ((3, 96, 96), 0, (3, 96, 96)),
        ((96, 96, 3), 2, (3, 96, 96)),
        ((6, 8, 9), 0, (6, 8, 9)),
        ((8, 9, 6), 2, (6, 8, 9)),
        ((1, 2, 5), 0, (1, 2, 5)),
        ((2, 5, 1), 2, (1, 2, 5)),
    ],
)
def test_channels_are_the_short_outer_axis(shape, axis, first):
    assert channel_axis(shape) == axis and channels_first(shape) == first


@pytest.mark.parametrize(
    "shape", [(3, 3, 3), (3, 24, 3), (24, 3, 24), (24, 24, 2), (4, 24, 24), (0, 5, 5), (24, 24)]
)
def test_shapes_that_could_be_anything_are_refused(shape):
    with pytest.raises(ValueError, match=r"shape \(.*expected a picture \(C, H, W\) or \(H, W, C"):
        channel_axis(shape)


@given(st.lists(st.integers(1, 40), min_size=3, max_size=3))
def test_a_shape_is_never_both(shape):
    mirrored = [shape[1], shape[2], shape[0]]
    try:
        axis = channel_axis(shape)
    except ValueError:
        return
    assert channels_first(shape)[0] == shape[axis]
    if axis == 0:
        assert channel_axis(mirrored) == 2 and channels_first(mirrored) == tuple(shape)


def _with_space(**spaces):
    def build():
        env = Shown()
        env.observation_space = gymnasium.spaces.Dict(spaces)
        return env

    return build


STATE, RGB = BOX(-1, 1, (2,)), BOX(0, 255, (3, 4, 7), np.uint8)


@pytest.mark.parametrize(
    ("env", "kwargs", "message"),
    [
        (
            _with_space(state=STATE, depth=RGB),
            {},
            r"keys \['depth', 'state'\], expected .*'state'.*'rgb'.*gymnasium\.wrappers",
        ),
        (_with_space(rgb=RGB), {}, r"keys \['rgb'\], expected"),
        (_with_space(state=STATE, rgb=RGB, depth=RGB), {}, "keys .*'depth'.*expected"),
        (
            _with_space(state=BOX(-1, 1, (2, 2)), rgb=RGB),
            {},
            r"observation_space\['state'\]=Box.*expected a Box of one dimension",
        ),
        (
            _with_space(state=STATE, rgb=BOX(0, 1, (3, 4, 7))),
            {},
            r"observation_space\['rgb'\]=Box.*float32.*expected a Box of uint8",
        ),
        (
            _with_space(state=STATE, rgb=BOX(0, 255, (4, 7), np.uint8)),
            {},
            r"observation_space\['rgb'\]: shape \(4, 7\): expected a picture",
        ),
        (_with_space(state=gymnasium.spaces.Discrete(3), rgb=RGB), {}, "expected a Box of one"),
        (Shown, {"img_cond_steps": 0}, "img_cond_steps=0: expected at least 1"),
        (Counter, {"img_cond_steps": 2}, "img_cond_steps=2: expected 1, there are no pictures"),
        (
            Shown,
            {"normalization": Normalization(*[np.zeros(k, np.float32) for k in (5, 5, 1, 1)])},
            "normalization.obs_min: 5 entries, expected 2",
        ),
    ],
)
def test_what_cannot_be_built_is_named(make_serial, env, kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_serial(env, **kwargs)


def test_an_environment_of_pictures_alone_is_told_how_to_add_a_state(make_serial):
    def build():
        env = Counter()
        env.observation_space = BOX(0, 255, (24, 24, 3), np.uint8)
        return env

    with pytest.raises(ValueError, match="expected a Box of one dimension, .*AddRenderObservation"):
        make_serial(build)


def test_sub_environments_of_different_pictures_are_refused(make_serial):
    channels = iter([3, 3, 1])
    with pytest.raises(ValueError, match="observation_space of environment 1: .*expected that of"):
        make_serial(lambda: Shown(channels=next(channels)), 2)
