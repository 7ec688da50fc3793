"""Copies of Gymnasium's robots as a vector environment."""

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.batched import BatchedChunkEnvs
from dppo_rllib.environments.locomotion import vector_entry_point
from dppo_rllib.environments.locomotion.vector_env import LocomotionVectorEnv
from dppo_rllib.environments.vectorized import SerialChunkEnvs


@pytest.fixture
def in_an_empty_folder(tmp_path, monkeypatch):
    """MuJoCo writes warnings to a file where it runs."""
    monkeypatch.chdir(tmp_path)


def test_spaces_are_those_of_gymnasium(copies):
    env, single = copies("Walker2d-v5"), gymnasium.make("Walker2d-v5")
    assert env.single_observation_space == single.observation_space
    assert env.single_action_space == single.action_space
    assert env.reset(seed=0)[0] in env.observation_space
    assert env.metadata["autoreset_mode"] is AutoresetMode.DISABLED
    assert env.metadata["render_fps"] == single.metadata["render_fps"] == 125


def test_starts_follow_from_seeds_as_with_gymnasiums_vector_environments(copies):
    env, theirs = (
        copies("HalfCheetah-v5"),
        SyncVectorEnv([lambda: gymnasium.make("HalfCheetah-v5")] * 3),
    )
    for seed in (7, [3, 1, 2], None, None):
        np.testing.assert_array_equal(env.reset(seed=seed)[0], theirs.reset(seed=seed)[0])
    theirs.close()


def test_ended_episodes_stand_still_until_they_are_reset(copies):
    env = copies(max_episode_steps=3)
    env.reset(seed=0)
    actions = np.zeros((3, 3), np.float32)
    for step in range(3):
        obs, _, terminated, truncated, _ = env.step(actions)
        assert truncated.tolist() == [step == 2] * 3 and not terminated.any()
    again, reward, terminated, truncated, _ = env.step(actions)
    np.testing.assert_array_equal(again, obs)
    assert not reward.any() and not terminated.any() and not truncated.any()
    start, _ = env.reset(options={"reset_mask": np.array([False, True, False])})
    np.testing.assert_array_equal(start[[0, 2]], obs[[0, 2]])
    moved, reward, _, truncated, _ = env.step(actions)
    np.testing.assert_array_equal(moved[[0, 2]], obs[[0, 2]])
    assert (moved[1] != start[1]).all() and reward.astype(bool).tolist() == [False, True, False]


def test_what_is_simulated_beyond_a_fall_leaves_no_trace(copies):
    """A chunk that goes on after it equals one that stops there."""
    generator = np.random.default_rng(0)
    actions = generator.uniform(-1, 1, (1, 100, 3)).astype(np.float32)
    long, short = copies(num_envs=1), copies(num_envs=1)
    for env in (long, short):
        env.reset(seed=4)
    results = list(long.step_chunk(actions))
    fall = [terminated.item() for _, _, terminated, _, _ in results].index(True)
    *_, last = short.step_chunk(actions[:, : fall + 1])
    for ours, theirs in zip(results[fall][:4], last[:4], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for obs, reward, terminated, truncated, infos in results[fall + 1 :]:
        np.testing.assert_array_equal(obs, last[0])
        assert not any(x.any() for x in (reward, terminated, truncated, infos["invalid"]))
    for env in (long, short):
        env.reset()
    np.testing.assert_array_equal(long.step(actions[:, 0])[0], short.step(actions[:, 0])[0])


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_simulation_that_diverges_is_cut_and_counted(closing):
    env = closing(make_chunked_env("Hopper-v5", 2, act_steps=4, cond_steps=1))
    env.reset(seed=0)
    chunk = np.zeros(env.action_space.shape, np.float32)
    before = env.step(chunk)[0]["state"]
    copies = env._envs._envs
    copies.envs[1].data.qvel[:] = 1e9
    copies._simulation.begin(np.array([1]))
    obs, reward, terminated, truncated, infos = env.step(chunk)
    assert infos["invalid"].tolist() == truncated.tolist() == [False, True]
    assert not terminated.any() and infos["env_steps"].tolist() == [4, 0] and reward[1] == 0
    np.testing.assert_array_equal(infos["final_obs"]["state"][1], before[1])
    assert (np.abs(obs["state"]) < 2).all()
    assert not env.step(chunk)[4]["invalid"].any()


@pytest.mark.usefixtures("in_an_empty_folder")
def test_a_warning_in_a_chunk_cuts_it_before_that_step(copies):
    """MuJoCo warns of controls that are not finite."""
    chunks = np.zeros((3, 4, 6), np.float32)
    chunks[1, 2] = np.nan
    env, sound = copies("HalfCheetah-v5"), copies("HalfCheetah-v5")
    for each in (env, sound):
        each.reset(seed=0)
    results = list(env.step_chunk(chunks))
    expected = list(sound.step_chunk(np.zeros_like(chunks)))
    assert [infos["invalid"].tolist() for *_, infos in results] == [
        [False] * 3,
        [False] * 3,
        [False, True, False],
        [False] * 3,
    ]
    for step, (obs, reward, *_) in enumerate(results):
        np.testing.assert_array_equal(obs[[0, 2]], expected[step][0][[0, 2]])
        np.testing.assert_array_equal(obs[1], expected[min(step, 1)][0][1])
        assert np.isfinite(reward).all() and (reward[1] == 0) == (step > 1)
    env.reset()
    assert not any(
        infos["invalid"].any() for *_, infos in env.step_chunk(0 * expected[0][0][:, None, :6])
    )


FILM = """
import sys
import numpy as np
from dppo_rllib.environments import make_chunked_env

films = []
for vectorization in ("auto", "sync"):
    env = make_chunked_env(
        *("Hopper-v5", 2),
        act_steps=4,
        cond_steps=1,
        vectorization=vectorization,
        render_mode="rgb_array",
        env_kwargs={"width": 64, "height": 48},
    )
    assert env.metadata["render_fps"] == 25
    env.reset(seed=0)
    for _ in range(6):
        env.step(np.ones(env.action_space.shape, np.float32))
    films.append(env.pop_frames())
    env.close()
np.save(sys.argv[1], films)
"""


def test_pictures_follow_the_steps_of_a_chunk(with_opengl, tmp_path):
    """As Gymnasium's, whose pictures are at most 2 ms late: those of the generic way."""
    done = with_opengl(FILM, tmp_path / "films.npy")
    assert done.returncode == 0, done.stderr
    ours, theirs = np.load(tmp_path / "films.npy").astype(float)
    assert ours.shape == (5, 48, 64, 3)  # one of five steps
    moved = np.abs(np.diff(theirs, axis=0)).mean(axis=(1, 2, 3))
    apart = np.abs(ours - theirs).mean(axis=(1, 2, 3))
    assert (moved > 0.1).all() and (apart[1:] < moved / 3).all(), (moved, apart)


def test_pictures_are_refused_where_they_were_not_asked_for(copies):
    with pytest.raises(ValueError, match="render_mode=None: expected 'rgb_array'"):
        copies().render()


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({"num_envs": 0}, "num_envs=0: expected at least 1"),
        ({"num_threads": 0}, "num_threads=0: expected at least 1"),
        ({"max_episode_steps": -1}, "max_episode_steps=-1: expected at least 1"),
        ({"render_mode": "human"}, "render_mode='human': expected 'rgb_array'"),
    ],
)
def test_arguments_are_checked_before_anything_is_built(copies, kwargs, message):
    with pytest.raises(ValueError, match=message):
        copies(**kwargs)


def test_they_are_taken_unless_others_are_asked_for(closing):
    def kind(env, **kwargs):
        return closing(make_chunked_env(env, 2, act_steps=2, cond_steps=1, **kwargs))._envs

    for env in ("Hopper-v5", "Walker2d-v4", "HalfCheetah-v5"):
        assert isinstance(kind(env)._envs, LocomotionVectorEnv)
        assert isinstance(kind(env, vectorization="sync"), SerialChunkEnvs)
    assert isinstance(kind("InvertedPendulum-v5"), SerialChunkEnvs)
    assert isinstance(kind("Hopper-v5", env_kwargs={"num_threads": 2}), BatchedChunkEnvs)


def test_gymnasiums_registry_is_left_alone():
    make_chunked_env("Hopper-v5", 1, act_steps=1, cond_steps=1).close()
    assert gymnasium.spec("Hopper-v5").vector_entry_point is None
    assert vector_entry_point(gymnasium.spec("Hopper-v5")) is not None
    assert vector_entry_point(gymnasium.spec("Ant-v5")) is None
