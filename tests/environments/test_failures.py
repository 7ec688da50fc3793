"""Simulators that raise, or return what is not finite in float32."""

import traceback

import numpy as np
import pytest
from small_environments import Faulty, Noise, StickyError, TwoPartError

pytestmark = [
    pytest.mark.filterwarnings("ignore:overflow encountered in cast"),
    # Gymnasium's own report of an exception in a process.
    pytest.mark.filterwarnings("ignore:.*ERROR"),
]

FAULTS = ["nan", "inf", "huge", "reward", "huge reward", "raise", "sticky"]


def step(env):
    return env.step(np.zeros(env.action_space.shape, np.float32))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failure_truncates_and_its_step_leaves_no_trace(make, fault):
    env = make(Faulty, env_kwargs={"fault": fault, "at": 3})
    env.reset()
    for _ in range(5):
        obs, reward, terminated, truncated, infos = step(env)
        assert infos["invalid"] and truncated and not terminated
        assert infos["env_steps"] == 2 and reward == 1 + 2
        assert infos["final_obs"]["state"].tolist() == [[[0, 1], [0, 2]]]
        assert obs["state"].tolist() == [[[0, 0], [0, 0]]], "episode 0 of a new build"


def test_a_failure_in_the_first_step_of_a_chunk_gives_a_chunk_without_steps(make):
    env = make(Faulty, act_steps=2, env_kwargs={"at": 3})
    env.reset()
    step(env)
    _, reward, _, truncated, infos = step(env)
    assert truncated and infos["invalid"] and infos["env_steps"] == 0 and reward == 0
    assert infos["final_obs"]["state"].tolist() == [[[0, 1], [0, 2]]]


def test_other_sub_environments_are_not_touched(make_serial):
    at = iter([0, 0, 2, 0, 0])
    env = make_serial(lambda: Faulty(at=next(at)), 3)
    env.reset()
    _, reward, _, truncated, infos = step(env)
    assert infos["invalid"].tolist() == truncated.tolist() == [False, True, False]
    assert reward.tolist() == [6, 1, 6]


def test_a_reward_sum_beyond_float32_is_a_failure(make_serial):
    class Rich(Faulty):
        def step(self, action):
            obs, _, *rest = super().step(action)
            return obs, 2e38, *rest

    env = make_serial(Rich)
    env.reset()
    _, reward, _, truncated, infos = step(env)
    assert infos["invalid"] and truncated and infos["env_steps"] == 1
    assert reward == np.float32(2e38)


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("raise", TwoPartError, "3 at step"),
        ("nan", FloatingPointError, r"observation \[nan.*expected numbers that are finite"),
        ("reward", FloatingPointError, "reward nan after 0.0 in this chunk, expected a sum"),
    ],
)
def test_the_third_failure_without_a_valid_step_raises(make, fault, error, message):
    env = make(Faulty, 2, env_kwargs={"fault": fault, "at": 1})
    env.reset()
    assert step(env)[-1]["invalid"].all() and step(env)[-1]["invalid"].all()
    with pytest.raises(error, match=message) as caught:
        step(env)
    if fault == "raise":
        assert caught.value.code == 3
        trace = "".join(traceback.format_exception(caught.value))
        assert "small_environments.py" in trace and "raise TwoPartError(3" in trace
    env.close()


def test_failures_in_ten_episodes_in_a_row_raise_even_between_valid_steps(make):
    env = make(Faulty, env_kwargs={"fault": "raise", "at": 2})
    env.reset()
    for _ in range(9):
        infos = step(env)[-1]
        assert infos["invalid"] and infos["env_steps"] == 1
    with pytest.raises(TwoPartError):
        step(env)
    env.close()


def test_an_episode_that_comes_to_its_end_makes_up_for_failures(make_serial):
    env = make_serial(Faulty, env_kwargs={"at": 2, "episodes": range(1, 9), "lengths": (3,)})
    env.reset()
    assert sum(step(env)[-1]["invalid"].item() for _ in range(40)) == 20


def test_an_exception_that_cannot_leave_its_process_arrives_as_text(make):
    env = make(Faulty, env_kwargs={"fault": "sticky", "at": 1})
    env.reset()
    step(env)
    step(env)
    with pytest.raises((StickyError, RuntimeError)) as caught:
        step(env)
    assert "cannot travel" in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("fault", ["raise", "nan", "huge"])
def test_a_reset_that_fails_now_and_then_is_repeated(make, fault):
    """Its second episode never starts, a new build does."""
    env = make(Faulty, env_kwargs={"fault": fault, "lengths": (2,), "resets": (1,)})
    env.reset()
    for _ in range(5):
        obs, reward, terminated, _, infos = step(env)
        assert terminated and not infos["invalid"] and reward == 3
        assert obs["state"].tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("raise", TwoPartError, "7 at reset"),
        ("nan", FloatingPointError, r"observation \[ *0\. +nan\]"),
    ],
)
def test_a_reset_that_always_fails_raises(make, fault, error, message):
    env = make(Faulty, env_kwargs={"fault": fault, "resets": (0,)})
    with pytest.raises(error, match=message) as caught:
        env.reset(seed=0)
    if fault == "raise":
        assert "small_environments.py" in "".join(traceback.format_exception(caught.value))


def test_a_restart_that_always_fails_raises_in_the_step(make_serial):
    resets = iter([(), (1,), (0,), (0,), (0,)])
    env = make_serial(lambda: Faulty("raise", lengths=(2,), resets=next(resets)))
    env.reset()
    with pytest.raises(TwoPartError, match="7 at reset"):
        step(env)


def test_an_environment_that_cannot_be_built_anew_raises(make_serial):
    builds = iter([Faulty("raise", 1), Faulty("raise", 1)])
    env = make_serial(lambda: next(builds))
    env.reset()
    with pytest.raises(StopIteration):
        step(env)


def test_seeded_runs_are_the_same_in_spite_of_failures(make):
    env = make(Noise, 2, env_kwargs={"fault": "raise", "at": 2, "lengths": (9,)})

    def run():
        env.reset(seed=1)
        return np.stack([step(env)[-1]["final_obs"]["state"][:, 0, 0] for _ in range(4)])

    first = run()
    np.testing.assert_array_equal(first, run())
    assert len(np.unique(first)) == first.size, "every new build has randomness of its own"


def test_the_first_failure_is_logged_with_its_traceback(make_serial, caplog):
    env = make_serial(Faulty, env_kwargs={"fault": "raise", "at": 2})
    env.reset()
    step(env)
    step(env)
    (record,) = caplog.records
    assert "A simulator failed" in record.message and record.exc_info[0] is TwoPartError


@pytest.mark.parametrize("make", ["async"], indirect=True)
def test_a_process_that_ends_is_named_and_the_others_are_ended(make):
    env = make(Faulty, 3, env_kwargs={"fault": "exit", "at": 2})
    env.reset()
    with pytest.raises(RuntimeError, match=r"process ended, and its exit code: \{.*0: 13"):
        step(env)
    assert not any(process.is_alive() for process in env._envs._envs.processes)
    env.close()


def test_an_environment_that_cannot_be_built_in_its_process_is_an_error(make_serial, tmp_path):
    """The probe and Gymnasium's own are built here, the third in the process."""
    builds = tmp_path / "builds"
    builds.write_text("")

    def build():
        with builds.open("a") as file:
            file.write(".")
        if len(builds.read_text()) > 2:
            raise OSError("no more of them")
        return Faulty()

    with pytest.raises(RuntimeError, match="env: an environment could not be built"):
        make_serial(build, vectorization="async")
