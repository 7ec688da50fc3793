"""A simulator that is there again after it has failed."""

import logging
import os
import signal

import numpy as np
import pytest
from fake_furniture import CRASH, HANG

from dppo_rllib.environments.furniture.isaac.process import SidecarError, Timeouts

ALL = np.ones(3, bool)


def fail(client, actions, y=CRASH):
    actions = actions.copy()
    actions[1, 1] = y
    assert client.step(actions) is None


@pytest.mark.parametrize("fault", [CRASH, HANG])
def test_after_a_failure_the_next_reset_has_a_new_process(fault, python, connect, calm, is_gone):
    client = connect(python, "Faulty", timeouts=Timeouts(60, 2, 60))
    client.reset(ALL, None)
    first = client.pid
    fail(client, calm(), fault)
    assert client.failures == 1 and client.pid is None and is_gone(first)
    assert client.step(calm()) is None and client.failures == 1
    _, begun = client.reset(np.array([False, True, False]), None)
    assert begun.all() and client.pid not in (None, first)
    assert client.step(calm())["robot_state"].any()
    _, begun = client.reset(np.array([False, True, False]), None)
    assert begun.tolist() == [False, True, False]


def test_a_failure_is_logged(running, connect, calm, caplog):
    client = connect(running, "Faulty")
    client.reset(ALL, None)
    with caplog.at_level(logging.WARNING):
        fail(client, calm())
    (record,) = caplog.records
    assert "ended in STEP (exit code 13)" in record.getMessage()
    assert "episodes of 3 copies are lost" in record.getMessage()


def test_a_process_that_died_while_nobody_looked_is_replaced_too(python, connect, calm):
    client = connect(python)
    client.reset(ALL, None)
    os.kill(client.pid, signal.SIGKILL)
    _, begun = client.reset(np.array([True, False, False]), None)
    assert begun.all() and client.failures == 1
    assert client.step(calm()) is not None


def test_numbers_follow_from_the_seed_across_failures(running, connect, calm):
    def shown():
        client = connect(running, "Faulty")
        states = [client.reset(ALL, [5, 6])[0]["robot_state"].copy()]
        states.append(client.reset(ALL, None)[0]["robot_state"].copy())
        fail(client, calm())
        states.append(client.reset(ALL, None)[0]["robot_state"].copy())
        return np.array(states)

    states = shown()
    np.testing.assert_array_equal(states, shown())
    assert len({state.tobytes() for state in states}) == 3


def test_failures_in_a_row_are_enough_at_three(running, connect, calm):
    client = connect(running, "Faulty")
    for _ in range(2):
        client.reset(ALL, None)
        fail(client, calm())
    client.reset(ALL, None)
    assert client.step(calm()) is not None  # then it counts anew
    for _ in range(2):
        fail(client, calm())
        client.reset(ALL, None)
    with pytest.raises(SidecarError, match=r"(?s)failed 3 times in a row; the last: .*code 13"):
        fail(client, calm())


def test_resets_that_always_fail_are_given_up(running, connect):
    client = connect(running, "NeverResets")
    with pytest.raises(SidecarError, match=r"(?s)failed 3 times in a row.*no memory left"):
        client.reset(ALL, None)


def test_a_closed_client_has_no_process(python, connect, calm, is_gone):
    client = connect(python)
    pid = client.pid
    client.close()
    client.close()
    assert is_gone(pid) and client.pid is None
