"""Seeds and masks of a reset."""

import numpy as np
import pytest

from dppo_rllib.environments.resetting import reseed, rows_to_reset, seeds_of


@pytest.mark.parametrize(
    "seed, seeds",
    [(None, [None] * 3), (5, [5, 6, 7]), ([1, None, 9],) * 2],
)
def test_each_copy_has_its_seed(seed, seeds):
    assert list(seeds_of(seed, 3)) == seeds


def test_as_many_seeds_as_copies_are_expected():
    with pytest.raises(ValueError, match="seed: 2 entries, expected 3"):
        seeds_of([1, 2], 3)


def test_only_copies_with_a_seed_get_another_generator():
    generators = [np.random.default_rng(0) for _ in range(3)]
    second = generators[1]
    reseed(generators, [7, None, 9])
    assert generators[1] is second
    assert generators[2].integers(1000) == np.random.default_rng(9).integers(1000)


def test_without_a_mask_all_are_reset():
    assert rows_to_reset(None, 3).tolist() == rows_to_reset({}, 3).tolist() == [0, 1, 2]
    assert rows_to_reset({"reset_mask": np.array([False, True, True])}, 3).tolist() == [1, 2]
