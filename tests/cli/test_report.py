"""How many environments evaluate."""

import math

from hypothesis import given
from hypothesis import strategies as st

from dppo_rllib.cli.report import num_eval_envs


@given(st.integers(1, 2000))
def test_environments_are_as_few_as_finish_in_the_fewest_rounds(episodes: int) -> None:
    envs = num_eval_envs(episodes)
    rounds = math.ceil(episodes / envs)
    assert 1 <= envs <= 40
    assert rounds == math.ceil(episodes / 40)
    # Of all rounds together less than one episode for each is wasted.
    assert envs * rounds - episodes < rounds
