"""What every chunked environment keeps to. Other implementations join `IMPLEMENTATIONS`."""

import functools
import importlib.util

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, VectorEnv
from small_environments import PictureWalk, Together, Walk

from dppo_rllib.environments import make_chunked_env

N, TA, TO, LIMIT = 3, 4, 2, 10

for name, single, draws in (
    ("Walk", Walk, False),
    ("PictureWalk", PictureWalk, False),
    ("DrawnPictureWalk", PictureWalk, True),
):
    gymnasium.register(
        f"dppo_rllib_tests/{name}-v0",
        vector_entry_point=functools.partial(Together, single, draws=draws),
    )

# Called with num_envs, and with act_steps, cond_steps and max_episode_steps by name. But for those
# of `SIMULATED`, their episodes end at random before the time limit now and then.
IMPLEMENTATIONS = {
    "sync": functools.partial(make_chunked_env, Walk),
    "async": functools.partial(make_chunked_env, Walk, vectorization="async"),
    "together": functools.partial(make_chunked_env, "dppo_rllib_tests/Walk-v0"),
    "sync pictures": functools.partial(make_chunked_env, PictureWalk, img_cond_steps=3),
    "async pictures": functools.partial(
        make_chunked_env, PictureWalk, img_cond_steps=3, vectorization="async"
    ),
    "together pictures": functools.partial(
        make_chunked_env, "dppo_rllib_tests/PictureWalk-v0", img_cond_steps=3
    ),
    "together drawn pictures": functools.partial(
        make_chunked_env, "dppo_rllib_tests/DrawnPictureWalk-v0"
    ),
}


# The environment, the modules that it needs, and its settings.
SIMULATORS = {
    "hopper": ("Hopper-v5", "mujoco", {}),
    "walker2d": ("Walker2d-v5", "mujoco", {}),
    "halfcheetah": ("HalfCheetah-v5", "mujoco", {}),
    "avoid": ("dppo_rllib/Avoid-v0", "mujoco", {"start_noise": 0.01}),
    "avoid arm": ("dppo_rllib/Avoid-v0", "mujoco", {"start_noise": 0.01, "simulator": "mujoco"}),
    "kitchen": ("dppo_rllib/Kitchen-v0", "gymnasium_robotics", {}),
    **{
        name + suffix: (f"dppo_rllib/{env}-v0", modules, {"simulator": simulator})
        for name, env in (
            ("one-leg", "OneLegLow"),
            ("lamp", "LampMed"),
            ("round-table", "RoundTableLow"),
        )
        for suffix, simulator, modules in (
            ("", "mujoco", "furniture_bench"),
            (" warp", "mujoco_warp", "furniture_bench mujoco_warp"),
        )
    },
    **{
        name: (f"dppo_rllib/{name.capitalize()}-v0", "robosuite", {})
        for name in ("lift", "can", "square", "transport")
    },
    "lift-pixels": ("dppo_rllib/LiftPixels-v0", "robosuite", {"image_size": 32}),
}
FURNITURE = tuple(name for name in SIMULATORS if "furniture_bench" in SIMULATORS[name][1])
SLOW = ("avoid arm", *FURNITURE, "can", "square", "transport", "lift-pixels")
# Nothing can be gained after their time limit, which counts as termination.
ENDED_BY_TIME = ("avoid", "avoid arm", *FURNITURE)
SIMULATED = {
    name: functools.partial(make_chunked_env, env, env_kwargs=settings)
    for name, (env, _, settings) in SIMULATORS.items()
}
IMPLEMENTATIONS |= SIMULATED


def marks_of(name):
    """Without a GPU MuJoCo Warp takes minutes for what others do in a second."""
    slow = [pytest.mark.slow] if name in SLOW else []
    return [*slow, pytest.mark.timeout(1800)] if name.endswith(" warp") else slow


@pytest.fixture(params=[pytest.param(name, marks=marks_of(name)) for name in IMPLEMENTATIONS])
def build(request, closing):
    if request.param in SIMULATORS:
        for module in SIMULATORS[request.param][1].split():
            if importlib.util.find_spec(module) is None:
                pytest.skip(f"{module} is not installed")
    if "pixels" in request.param:
        request.getfixturevalue("opengl")

    def build(num_envs=N):
        implementation = IMPLEMENTATIONS[request.param]
        return closing(
            implementation(num_envs, act_steps=TA, cond_steps=TO, max_episode_steps=LIMIT)
        )

    return build


@pytest.fixture
def env(build):
    return build()


def chunks(env, steps, seed=0):
    shape = (steps, *env.action_space.shape)
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


def steps(env, actions, seed=0):
    """Everything that a rollout returns, in order."""
    env.reset(seed=seed)
    return [env.step(chunk) for chunk in actions]


def arrays(step):
    obs, reward, terminated, truncated, infos = step
    counts = infos["env_steps"], infos["invalid"]
    histories = [*obs.values(), *infos["final_obs"].values()]
    return [*histories, reward, terminated, truncated, *counts]


def assert_equal(a, b):
    for x, y in zip(a, b, strict=True):
        for left, right in zip(arrays(x), arrays(y), strict=True):
            np.testing.assert_array_equal(left, right)


def test_it_is_a_gymnasium_vector_env_that_restarts_in_the_same_step(env):
    assert isinstance(env, VectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert env.num_envs == N


def test_spaces_say_what_goes_in_and_comes_out(env):
    obs_dim, action_dim = (
        env.single_observation_space["state"].shape[-1],
        env.action_space.shape[-1],
    )
    assert env.single_observation_space["state"].shape == (TO, obs_dim)
    assert env.observation_space["state"].shape == (N, TO, obs_dim)
    assert env.single_action_space.shape == (TA, action_dim)
    assert env.action_space.shape == (N, TA, action_dim)
    assert (env.action_space.low == -1).all() and (env.action_space.high == 1).all()
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space


def test_results_are_dense_arrays_of_fixed_types(env):
    for step in steps(env, chunks(env, 6)):
        obs, reward, terminated, truncated, infos = step
        assert obs in env.observation_space and infos["final_obs"] in env.observation_space
        assert reward.dtype == np.float32
        assert {x.dtype for x in (terminated, truncated, infos["invalid"])} == {np.dtype(bool)}
        assert infos["env_steps"].dtype == np.int64
        assert {x.shape for x in arrays(step)} == {(N,), *(x.shape for x in obs.values())}
        assert all(np.isfinite(x).all() for x in arrays(step))


def test_only_the_end_of_the_episode_cuts_a_chunk_short(env):
    ended = np.zeros(N, bool)
    for _, _, terminated, truncated, infos in steps(env, chunks(env, 20)):
        done = terminated | truncated
        assert (infos["env_steps"][~done] == TA).all()
        assert ((infos["env_steps"] >= 1) & (infos["env_steps"] <= TA)).all()
        ended |= done
    assert ended.all()


def test_an_episode_ends_exactly_at_the_time_limit(env, request):
    name = request.node.callspec.id
    lengths, causes = np.zeros(N, int), set()
    for _, _, terminated, truncated, infos in steps(env, chunks(env, 30)):
        lengths += infos["env_steps"]
        late = terminated if name in ENDED_BY_TIME else truncated
        assert ((lengths == LIMIT) == late).all() and (lengths <= LIMIT).all()
        causes |= set(zip(terminated.tolist(), truncated.tolist(), strict=True))
        lengths[terminated | truncated] = 0
    by_time = (True, False) if name in ENDED_BY_TIME else (False, True)
    expected = {(False, False), by_time}
    assert expected <= causes if name in SIMULATED else causes > expected


def test_a_history_starts_with_its_first_observation_repeated(env):
    obs, _ = env.reset(seed=0)
    for history in obs.values():
        np.testing.assert_array_equal(history, history[:, :1].repeat(history.shape[1], 1))
    for obs, _, terminated, truncated, _ in steps(env, chunks(env, 12)):
        for history in obs.values():
            started = history[terminated | truncated]
            np.testing.assert_array_equal(started, started[:, :1].repeat(started.shape[1], 1))


def test_final_observations_are_those_before_the_restart(env):
    for obs, _, terminated, truncated, infos in steps(env, chunks(env, 12)):
        done = terminated | truncated
        for key, final in infos["final_obs"].items():
            assert not any((final[i, -1] == obs[key][i, -1]).all() for i in np.flatnonzero(done))
            np.testing.assert_array_equal(final[~done], obs[key][~done])
            assert done.any() or final is obs[key]  # no copy where nothing ended


def test_a_seed_fixes_everything_across_episodes(env, build):
    actions = chunks(env, 10)
    first = steps(env, actions, seed=5)
    assert_equal(first, steps(env, actions, seed=5))
    assert_equal(first, steps(build(), actions, seed=5))
    other = steps(env, actions, seed=6)
    assert (first[0][0]["state"] != other[0][0]["state"]).any(axis=(1, 2)).all()


def test_sub_environment_i_has_seed_plus_i(env, build):
    together, _ = env.reset(seed=5)
    single = build(1)
    for i in range(N):
        obs, _ = single.reset(seed=5 + i)
        for key in together:
            np.testing.assert_array_equal(obs[key][0], together[key][i])
    apart, _ = env.reset(seed=[5, 6, 7])
    for key in together:
        np.testing.assert_array_equal(apart[key], together[key])


def test_other_numbers_of_seeds_are_refused(env):
    with pytest.raises(ValueError, match="seed: 2 entries, expected 3"):
        env.reset(seed=[1, 2])


def test_reset_in_the_middle_starts_anew(env):
    actions = chunks(env, 3)
    first = steps(env, actions)
    env.step(actions[0])
    assert_equal(first, steps(env, actions))


def test_what_was_returned_is_never_overwritten(env):
    actions = chunks(env, 6)
    start, _ = env.reset(seed=0)
    kept, copies = [*start.values()], [x.copy() for x in start.values()]
    for chunk in actions:
        step = env.step(chunk)
        kept += arrays(step)
        copies += [x.copy() for x in arrays(step)]
    env.reset(seed=1)
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    # Final observations may be the observations themselves.
    kept = list({id(array): array for array in kept}.values())
    assert not any(np.shares_memory(a, b) for i, a in enumerate(kept) for b in kept[:i])


def test_actions_are_clipped_to_their_range_and_left_as_they_were(env):
    actions = 3 * chunks(env, 5)
    before = actions.copy()
    assert_equal(steps(env, actions), steps(env, actions.clip(-1, 1)))
    np.testing.assert_array_equal(actions, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_actions_that_are_not_finite_are_refused_by_row(env, value):
    env.reset(seed=0)
    chunk = np.zeros(env.action_space.shape, np.float32)
    chunk[1, 2, 0] = value
    with pytest.raises(ValueError, match=r"sub-environments \[1\]: expected finite"):
        env.step(chunk)


def test_chunks_of_another_shape_are_refused(env):
    env.reset(seed=0)
    width = env.action_space.shape[-1]
    message = rf"shape \(3, 5, {width}\), expected \(3, 4, {width}\)"
    with pytest.raises(ValueError, match=message):
        env.step(np.zeros((N, TA + 1, width), np.float32))


def test_closing_twice_is_no_error(env):
    env.close()
    env.close()


@pytest.mark.parametrize("kind", ["", " pictures"])
def test_implementations_agree(kind):
    """Those over the same environment, that is: a faster simulator may round differently."""
    envs = [
        IMPLEMENTATIONS[name + kind](N, act_steps=TA, cond_steps=TO, max_episode_steps=LIMIT)
        for name in ("sync", "async", "together")
    ]
    actions = chunks(envs[0], 15)
    first, *others = (steps(env, actions, seed=3) for env in envs)
    for other in others:
        assert_equal(first, other)
    for env in envs:
        env.close()
