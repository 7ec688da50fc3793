"""Pillars, and the ways between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dppo_rllib.environments.avoid.table import NO_WAY, PILLARS, note_ways


def ways_along(*places):
    ways = np.full((1, 3), NO_WAY)
    for x, y in places:
        ways = note_ways(ways, np.array([x + 1j * y]))
    return ways[0].tolist()


def official_ways(places):
    """As D3IL's `check_mode` counts them, case by case."""
    passed, modes = [False] * 3, []
    for x, y in places:
        if y - 0.03 <= -0.1 <= y + 0.03 and not passed[0]:
            modes.append(0 if x < 0.5 else 1)
            passed[0] = True
        if y - 0.03 <= 0.08 <= y + 0.03 and not passed[1]:
            modes.append(2 if x < 0.425 else 3 if x < 0.575 else 4)
            passed[1] = True
        if y >= 0.26 and not passed[2]:
            modes.append(5 if x < 0.35 else 6 if x < 0.5 else 7 if x < 0.65 else 8)
            passed[2] = True
    return modes


@pytest.mark.parametrize(
    "x, first, second, third",
    [(0.3, 0, 2, 5), (0.45, 0, 3, 6), (0.55, 1, 3, 7), (0.6, 1, 4, 7), (0.7, 1, 4, 8)],
)
def test_ways_are_numbered_row_by_row_from_left_to_right(x, first, second, third):
    upwards = [(x, y) for y in np.arange(-0.28, 0.45, 0.01)]
    assert ways_along(*upwards) == [first, second, third]


def test_the_way_that_is_taken_first_counts():
    assert ways_along((0.4, -0.12), (0.6, -0.1)) == [0, NO_WAY, NO_WAY]
    assert ways_along((0.4, 0.27), (0.4, 0.2), (0.3, 0.27))[2] == 6


def test_the_first_rows_count_from_3_cm_before_the_last_one_at_its_pillars():
    assert ways_along((0.4, -0.131)) == [NO_WAY] * 3
    assert ways_along((0.4, -0.129)) == [0, NO_WAY, NO_WAY]
    assert ways_along((0.3, 0.259))[2] == NO_WAY
    assert ways_along((0.3, 0.2601))[2] == 5


coordinates = st.floats(0.2, 0.8).filter(lambda x: not np.isin(x, PILLARS.real).any())


@given(st.lists(st.tuples(coordinates, st.floats(-0.3, 0.5)), min_size=1, max_size=20))
def test_ways_are_those_that_d3il_counts(places):
    found = [way for way in ways_along(*places) if way != NO_WAY]
    assert sorted(found) == sorted(official_ways(places))
