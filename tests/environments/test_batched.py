"""Chunks over environments that are simulated together."""

import functools

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from small_environments import Counter, Faulty, Shown, Together, Walk, picture

from dppo_rllib.environments import ChunkedVectorEnv, Normalization, make_chunked_env
from dppo_rllib.environments.batched import BatchedChunkEnvs
from dppo_rllib.environments.vectorized import SerialChunkEnvs

SEEDS = [None, None]


def batched(single, num_envs=2, *, act_steps=3, cond_steps=2, img_cond_steps=1, **kwargs):
    return BatchedChunkEnvs(
        Together(single, num_envs, **kwargs), act_steps, cond_steps, img_cond_steps
    )


def zeros(envs):
    return np.zeros((envs.num_envs, *envs.action_space.shape), np.float32)


def test_histories_rewards_and_success_are_those_of_one_environment():
    single = functools.partial(Counter, lengths=(4, 100), success_at=2)
    envs = batched(single)
    np.testing.assert_array_equal(envs.reset(SEEDS, None)[0], [[0, 0], [0, 0]])
    first, second = envs.step(zeros(envs)), envs.step(zeros(envs))
    np.testing.assert_array_equal(first.start[1], [[0, 2], [0, 3]])
    assert first.reward.tolist() == [6, 6] and first.success.all() and first.has_success.all()
    np.testing.assert_array_equal(second.final[0], [[0, 3], [0, 4]])
    np.testing.assert_array_equal(second.start[0], [[1, 0], [1, 0]])
    assert second.reward.tolist() == [4, 4] and second.env_steps.tolist() == [1, 1]
    assert second.terminated.all() and not second.truncated.any() and not second.success.any()


class OnDevice(Together):
    """As one that is simulated on a device: it takes and returns tensors if it is told to."""

    device, as_tensors = torch.device("cpu"), False

    def reset(self, **kwargs):
        obs, infos = super().reset(**kwargs)
        return torch.from_numpy(obs).float(), infos

    def step(self, actions):
        assert self.as_tensors and isinstance(actions, torch.Tensor)
        obs, *rest = super().step(actions.numpy())
        return torch.from_numpy(obs).float(), *rest


@pytest.mark.parametrize("asked", [None, torch.device("cpu")])
@pytest.mark.parametrize("kind", [Together, OnDevice])
def test_arrays_and_tensors_hold_the_same(kind, asked):
    single = functools.partial(Faulty, fault="nan", at=5, episodes=[0], lengths=(8, 3, 100))
    low = Normalization(*(np.array(ends, np.float32) for ends in ([0, 0], [2, 9], [-1], [1])))
    chunked = [
        ChunkedVectorEnv(BatchedChunkEnvs(envs(single, 2), 3, 2), low, device)
        for envs, device in ((Together, None), (kind, asked))
    ]
    actions = np.random.default_rng(0).uniform(-1, 1, (6, 2, 3, 1)).astype(np.float32)
    expected, found = (env.reset(seed=0)[0] for env in chunked)
    for action in actions:
        assert isinstance(found["state"], np.ndarray if asked is None else torch.Tensor)
        np.testing.assert_array_equal(found["state"], expected["state"])
        expected, *flags, infos = chunked[0].step(action)
        found, *others, facts = chunked[1].step(torch.from_numpy(action))
        np.testing.assert_array_equal(others, flags)
        last, others_last = infos.pop("final_obs"), facts.pop("final_obs")
        np.testing.assert_array_equal(others_last["state"], last["state"])
        for key, values in infos.items():
            np.testing.assert_array_equal(facts[key], values)


@pytest.mark.parametrize("fault", ["nan", "raise", "reward"])
def test_a_failure_cuts_the_episode_before_the_broken_step(fault):
    builds = iter([{"fault": fault, "at": 5, "episodes": [0]}, {}])
    envs = batched(lambda: Faulty(**next(builds)))
    envs.reset(SEEDS, None)
    envs.step(zeros(envs))
    results = envs.step(zeros(envs))
    assert results.invalid.tolist() == results.truncated.tolist() == [True, False]
    assert results.env_steps.tolist() == [1, 3] and results.reward.tolist() == [4, 4 + 5 + 6]
    np.testing.assert_array_equal(results.final[0], [[0, 3], [0, 4]])
    np.testing.assert_array_equal(results.start[0], [[1, 0], [1, 0]])
    assert not envs.step(zeros(envs)).invalid.any()


def test_a_simulator_that_fails_in_every_episode_ends_the_run():
    envs = batched(functools.partial(Faulty, fault="raise", at=1), num_envs=1)
    envs.reset([None], None)
    for _ in range(9):
        assert envs.step(zeros(envs)).invalid.all()
    with pytest.raises(FloatingPointError, match=r"10 episodes in a row in copies \[0\]"):
        envs.step(zeros(envs))


@pytest.mark.parametrize("last", [False, True])
def test_pictures_are_drawn_only_where_a_policy_sees_them(last):
    single = functools.partial(Shown, lengths=(4,), last=last)
    envs = batched(single, draws=True)
    envs.reset(SEEDS, None)
    first, second = envs.step(zeros(envs)), envs.step(zeros(envs))
    for rgb, shown in (
        (first.start["rgb"], picture(0, 3)),
        (second.final["rgb"], picture(0, 4)),
        (second.start["rgb"], picture(1, 0)),
    ):
        np.testing.assert_array_equal(rgb, np.broadcast_to(shown, rgb.shape))
    assert envs._envs.drawn == 2 * 4  # at the start, after each chunk, after the restart


def test_of_a_failed_step_there_is_no_picture():
    single = functools.partial(Shown, fault="raise", at=5)
    envs = batched(single, draws=True)
    envs.reset(SEEDS, None)
    envs.step(zeros(envs))
    final = envs.step(zeros(envs)).final["rgb"]
    np.testing.assert_array_equal(final, np.broadcast_to(picture(0, 3), final.shape))


def test_frames_are_those_of_the_first_environment():
    envs = batched(functools.partial(Counter, lengths=(4, 9)), render_mode="rgb_array")
    envs.reset(SEEDS, None)
    envs.step(zeros(envs))
    envs.step(zeros(envs))
    assert [frame[0, 0, 0] for frame in envs.pop_frames()] == [1, 2, 3, 4]
    assert envs.pop_frames() == []


def test_of_a_fast_simulator_thirty_frames_a_second_are_kept():
    together = Together(Counter, 1, render_mode="rgb_array")
    together.metadata |= {"render_fps": 80}
    envs = BatchedChunkEnvs(together, 3, 1)
    assert envs.metadata["render_fps"] == 80 / 3
    envs.reset([None], None)
    for _ in range(3):
        envs.step(zeros(envs))
    assert [frame[0, 0, 0] for frame in envs.pop_frames()] == [1, 4, 7]


class Whole(Together):
    """Simulates chunks as a whole, and draws single copies."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.chunks = 0

    def step_chunk(self, chunks):
        self.chunks += 1
        for step in range(chunks.shape[1]):
            yield super().step(chunks[:, step])

    def step(self, actions):
        raise AssertionError("stepped one by one")

    def picture(self, row):
        return self.envs[row].render()

    def render(self):
        raise AssertionError("all are drawn")


def test_one_that_simulates_chunks_as_a_whole_is_asked_to():
    single = functools.partial(Counter, lengths=(4, 100))
    envs, apart = (
        BatchedChunkEnvs(kind(single, 2, render_mode="rgb_array"), 3, 2)
        for kind in (Whole, Together)
    )
    for each in (envs, apart):
        each.reset(SEEDS, None)
    for _ in range(3):
        ours, theirs = envs.step(zeros(envs)), apart.step(zeros(apart))
        for name in ("start", "final", "reward", "terminated", "truncated", "env_steps"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    np.testing.assert_array_equal(envs.pop_frames(), apart.pop_frames())
    assert envs._envs.chunks == 3


def test_one_that_restarts_by_itself_is_refused():
    together = Together(Counter, 1)
    together.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    with pytest.raises(ValueError, match="expected AutoresetMode.DISABLED"):
        BatchedChunkEnvs(together, 1, 1)


class Restarting(Together):
    def __init__(self, **kwargs):
        super().__init__(Walk, **kwargs)
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}


def test_where_a_registered_vector_environment_does_not_fit_single_ones_are_made():
    gymnasium.register(
        "dppo_rllib_tests/Restarting-v0", entry_point=Walk, vector_entry_point=Restarting
    )
    env = make_chunked_env("dppo_rllib_tests/Restarting-v0", 2, act_steps=2, cond_steps=1)
    assert isinstance(env._envs, SerialChunkEnvs)
    env.close()


gymnasium.register(
    "dppo_rllib_tests/Either-v0",
    entry_point=Walk,
    vector_entry_point=functools.partial(Together, Walk),
)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_single_ones_can_be_asked_for(vectorization):
    make = functools.partial(
        make_chunked_env, "dppo_rllib_tests/Either-v0", 2, act_steps=2, cond_steps=1
    )
    together, apart = make(), make(vectorization=vectorization)
    assert isinstance(together._envs, BatchedChunkEnvs)
    assert not isinstance(apart._envs, BatchedChunkEnvs)
    apart.close()
