"""The same numbers as Gymnasium's environments, to the bit."""

import gymnasium
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dppo_rllib.environments import Normalization, make_chunked_env

# Gymnasium would rather have v5 used.
pytestmark = pytest.mark.filterwarnings("ignore:.*is out of date")
IDS = [
    f"{robot}-{version}"
    for robot in ("Hopper", "Walker2d", "HalfCheetah")
    for version in ["v5", "v4"]
]
N, TA = 3, 4


def follow(copies, singles, num_chunks, seed=0):
    """Steps both, episode after episode; of each step (chunk step, rewards, terminated, truncated).

    Fails where they differ.
    """
    shown, _ = copies.reset(seed=seed)
    for i, env in enumerate(singles):
        np.testing.assert_array_equal(shown[i], env.reset(seed=seed + i)[0])
    generator, log = np.random.default_rng(seed), []
    shape = (num_chunks, copies.num_envs, TA, copies.single_action_space.shape[0])
    for chunks in generator.uniform(-1, 1, shape).astype(np.float32):
        running = np.ones(copies.num_envs, bool)
        for step, results in enumerate(copies.step_chunk(chunks)):
            obs, rewards, terminated, truncated, infos = results
            assert not infos["invalid"].any()
            for i in np.flatnonzero(running):
                theirs = singles[i].step(chunks[i, step])
                np.testing.assert_array_equal(obs[i], theirs[0])
                assert rewards[i] == theirs[1]
                assert (terminated[i], truncated[i]) == theirs[2:4]
                log.append((step, rewards[i], terminated[i], truncated[i]))
            running &= ~(terminated | truncated)
        if not running.all():
            shown, _ = copies.reset(options={"reset_mask": ~running})
            for i in np.flatnonzero(~running):
                np.testing.assert_array_equal(shown[i], singles[i].reset()[0])
    return log


def make_singles(env, **kwargs):
    return [gymnasium.make(env, **kwargs) for _ in range(N)]


@pytest.mark.parametrize("env", IDS)
def test_episodes_equal_gymnasiums_to_the_bit(copies, env):
    limit = 40
    together = copies(env, max_episode_steps=limit)
    log = follow(together, make_singles(env, max_episode_steps=limit), num_chunks=120)
    ends = {step for step, _, terminated, _ in log if terminated}
    assert any(truncated for *_, truncated in log) or not env.startswith("HalfCheetah")
    assert ends == (set() if env.startswith("HalfCheetah") else {0, 1, 2, 3})


@pytest.mark.parametrize("env", ["Hopper-v5", "Walker2d-v4"])
def test_a_thousand_steps_on_the_ground_do_too(copies, env):
    """Contacts, limits of joints, and a solver that starts from what it found last."""
    kwargs = {"terminate_when_unhealthy": False}
    log = follow(copies(env, **kwargs), make_singles(env, **kwargs), num_chunks=250)
    assert len(log) == N * 250 * TA


@pytest.mark.parametrize(
    ("env", "kwargs"),
    [
        ("Hopper-v5", {"healthy_z_range": (0.9, 1.4), "healthy_state_range": (-2, 3)}),
        ("Hopper-v4", {"healthy_reward": 2.5, "terminate_when_unhealthy": False}),
        ("Walker2d-v5", {"healthy_angle_range": (-0.1, 0.3), "frame_skip": 3}),
        ("Walker2d-v4", {"exclude_current_positions_from_observation": False}),
        ("HalfCheetah-v5", {"forward_reward_weight": 0.3, "reset_noise_scale": 0.5}),
        ("HalfCheetah-v4", {"ctrl_cost_weight": 0.7}),
    ],
)
def test_arguments_mean_what_they_mean_to_gymnasium(copies, env, kwargs):
    follow(copies(env, **kwargs), make_singles(env, **kwargs), num_chunks=20)


@pytest.mark.parametrize("env", IDS)
def test_chunked_environments_are_those_of_the_generic_way(closing, env):
    low, high = np.full(17, -2, np.float32), np.full(17, 3, np.float32)
    dims = (11, 3) if env.startswith("Hopper") else (17, 6)
    ends = [bound[:dim] for dim in dims for bound in (low, high)]
    together, apart = (
        closing(
            make_chunked_env(
                *(env, N),
                act_steps=TA,
                cond_steps=2,
                normalization=Normalization(*ends),
                max_episode_steps=30,
                vectorization=vectorization,
            )
        )
        for vectorization in ("auto", "sync")
    )
    generator = np.random.default_rng(1)
    np.testing.assert_array_equal(
        together.reset(seed=5)[0]["state"], apart.reset(seed=5)[0]["state"]
    )
    for _ in range(60):
        chunks = generator.uniform(-1.5, 1.5, together.action_space.shape).astype(np.float32)
        ours, theirs = together.step(chunks), apart.step(chunks)
        for a, b in zip(ours[1:4], theirs[1:4], strict=True):
            np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(ours[0]["state"], theirs[0]["state"])
        for key in ("env_steps", "invalid"):
            np.testing.assert_array_equal(ours[4][key], theirs[4][key])
        np.testing.assert_array_equal(
            ours[4]["final_obs"]["state"], theirs[4]["final_obs"]["state"]
        )


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    num_threads=st.integers(1, 3),
    seed=st.integers(0, 1000),
)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_how_actions_are_divided_into_chunks_and_threads_changes_nothing(
    copies, lengths, num_threads, seed
):
    actions = np.random.default_rng(seed).uniform(-1, 1, (5, sum(lengths), 6)).astype(np.float32)
    whole, pieces = copies("Walker2d-v5", 5), copies("Walker2d-v5", 5, num_threads=num_threads)
    for each in (whole, pieces):
        each.reset(seed=seed)
    ours = list(whole.step_chunk(actions))
    theirs, first = [], 0
    for length in lengths:
        theirs += pieces.step_chunk(actions[:, first : first + length])
        first += length
    for a, b in zip(ours, theirs, strict=True):
        for left, right in zip(a[:4], b[:4], strict=True):
            np.testing.assert_array_equal(left, right)


def test_only_the_older_version_pays_for_the_step_in_which_a_robot_falls(copies):
    """v4, as v2 and so D4RL: its reward of 1 for being healthy is paid once more."""
    logs = [
        follow(copies(env), make_singles(env), num_chunks=40) for env in ("Hopper-v5", "Hopper-v4")
    ]
    differences = [old[1] - new[1] for new, old in zip(*logs, strict=True)]
    fallen = [terminated for _, _, terminated, _ in logs[0]]
    assert any(fallen)
    np.testing.assert_allclose(differences, np.array(fallen, float), atol=1e-12)


def test_only_the_older_walker_has_a_slippery_foot():
    frictions = [
        [
            gymnasium.make(f"Walker2d-{version}").unwrapped.model.geom(foot).friction[0]
            for foot in ("foot_geom", "foot_left_geom")
        ]
        for version in ("v5", "v4")
    ]
    assert frictions == [[1.9, 1.9], [0.9, 1.9]]
