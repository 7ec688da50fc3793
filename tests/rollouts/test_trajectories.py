"""Trajectories can be shared among learners and joined again without loss."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo_rllib.rollouts.trajectories import Trajectories, concatenate


def make(steps: int, envs: int, seed: int = 0) -> Trajectories:
    """As from the object store."""
    rng = np.random.default_rng(seed)

    def floats(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    truncated = rng.random((steps, envs)) < 0.3
    index = np.argwhere(truncated)
    return Trajectories(
        obs={"state": floats(steps, envs, 2, 3)},
        chains=floats(steps, envs, 4, 5, 2),
        log_probs=floats(steps, envs, 3),
        reward=floats(steps, envs),
        terminated=rng.random((steps, envs)) < 0.2,
        truncated=truncated,
        is_first=rng.random((steps, envs)) < 0.2,
        env_steps=rng.integers(1, 5, (steps, envs)),
        next_obs={"state": floats(envs, 2, 3)},
        final_obs={"state": floats(len(index), 2, 3)},
        final_index=index,
        env_ids=np.arange(envs) + 10,
        weights_seq_no=7,
    )


def as_tensors(arrays: Trajectories) -> Trajectories:
    """As a runner in the same process has them."""

    def tensors(values: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        return {key: torch.from_numpy(value) for key, value in values.items()}

    return replace(
        arrays,
        obs=tensors(arrays.obs),
        next_obs=tensors(arrays.next_obs),
        final_obs=tensors(arrays.final_obs),
        chains=torch.from_numpy(arrays.chains),
        log_probs=torch.from_numpy(arrays.log_probs),
    )


def test_tensors_are_shared_and_joined_as_arrays_are() -> None:
    arrays = make(3, 5)
    tensors = as_tensors(arrays)
    assert tensors.nbytes == arrays.nbytes
    joined = concatenate(tensors.split(2))
    expected = concatenate(arrays.split(2))
    assert isinstance(joined.chains, torch.Tensor) and isinstance(joined.obs["state"], torch.Tensor)
    for found in (joined, joined.on_host()):
        for name in ("chains", "log_probs", "reward", "final_index"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
        for name in ("obs", "next_obs", "final_obs"):
            array = getattr(expected, name)["state"]
            np.testing.assert_array_equal(getattr(found, name)["state"], array)
    host = joined.on_host()
    bulk = (host.chains, host.log_probs, *host.obs.values(), *host.next_obs.values())
    assert all(isinstance(array, np.ndarray) for array in (*bulk, *host.final_obs.values()))


@settings(max_examples=30)
@given(steps=st.integers(1, 5), envs=st.integers(1, 7), shards=st.integers(1, 7))
def test_splitting_and_joining_gives_the_same(steps: int, envs: int, shards: int) -> None:
    whole = make(steps, envs)
    joined = concatenate(whole.split(min(shards, envs)))
    for name in ("chains", "log_probs", "reward", "terminated", "is_first", "env_ids"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    np.testing.assert_array_equal(joined.obs["state"], whole.obs["state"])
    order = np.lexsort(joined.final_index.T[::-1])
    np.testing.assert_array_equal(joined.final_index[order], whole.final_index)
    np.testing.assert_array_equal(joined.final_obs["state"][order], whole.final_obs["state"])
    assert joined.nbytes == whole.nbytes and joined.weights_seq_no == 7


def test_a_single_share_is_not_copied() -> None:
    whole = make(2, 3)
    assert whole.split(1)[0] is whole
    assert concatenate([whole]) is whole


def test_final_observations_stay_with_their_chunks() -> None:
    whole = make(4, 5)
    part = whole.select(np.array([3, 1]))
    for (t, n), last in zip(part.final_index, part.final_obs["state"], strict=True):
        original = [3, 1][n]
        assert part.truncated[t, n]
        row = np.flatnonzero((whole.final_index == [t, original]).all(1))[0]
        np.testing.assert_array_equal(last, whole.final_obs["state"][row])


def test_more_learners_than_environments_are_refused() -> None:
    with pytest.raises(ValueError, match="shards=4: expected 1 to num_envs=3"):
        make(2, 3).split(4)


def test_nothing_cannot_be_joined() -> None:
    with pytest.raises(ValueError, match="at least one"):
        concatenate([])
