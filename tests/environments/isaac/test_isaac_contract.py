"""What every chunked environment keeps to, of the fake in the sidecar.

But for two facts: time terminates, and copies have no generators of their own.
"""

import sys

import numpy as np
import pytest
import test_contract
from named_fakes import fake
from test_contract import (  # noqa: F401  collected here, with `build` as below
    LIMIT,
    TA,
    TO,
    N,
    chunks,
    env,
    steps,
    test_a_history_starts_with_its_first_observation_repeated,
    test_a_seed_fixes_everything_across_episodes,
    test_actions_are_clipped_to_their_range_and_left_as_they_were,
    test_actions_that_are_not_finite_are_refused_by_row,
    test_chunks_of_another_shape_are_refused,
    test_closing_twice_is_no_error,
    test_final_observations_are_those_before_the_restart,
    test_it_is_a_gymnasium_vector_env_that_restarts_in_the_same_step,
    test_only_the_end_of_the_episode_cuts_a_chunk_short,
    test_other_numbers_of_seeds_are_refused,
    test_reset_in_the_middle_starts_anew,
    test_results_are_dense_arrays_of_fixed_types,
    test_spaces_say_what_goes_in_and_comes_out,
    test_what_was_returned_is_never_overwritten,
)

from dppo_rllib.environments import make_chunked_env

ELSEWHERE = {
    "test_an_episode_ends_exactly_at_the_time_limit",
    "test_sub_environment_i_has_seed_plus_i",
    "test_implementations_agree",
}


@pytest.fixture
def build(closing):
    def build(num_envs=N):
        return closing(
            make_chunked_env(
                "dppo_rllib/OneLegLowIsaac-v0",
                num_envs,
                act_steps=TA,
                cond_steps=TO,
                max_episode_steps=LIMIT,
                env_kwargs={"python": sys.executable, "environment": fake("FakeFurniture")},
            )
        )

    return build


def test_no_part_of_the_contract_is_forgotten():
    contract = {name for name in vars(test_contract) if name.startswith("test_")}
    assert contract - ELSEWHERE == set(globals()) & contract


def test_an_episode_terminates_exactly_at_the_time_limit(env):  # noqa: F811
    lengths, ends = np.zeros(N, int), 0
    for _, _, terminated, truncated, infos in steps(env, chunks(env, 30)):
        lengths += infos["env_steps"]
        assert ((lengths == LIMIT) == terminated).all() and not truncated.any()
        ends += int(terminated.sum())
        lengths[terminated] = 0
    assert ends == 10 * N
