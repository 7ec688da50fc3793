"""Scripted experts, in the simulation."""

import numpy as np
import pytest
from recordings import record_all

from dppo_rllib.environments.robomimic import HORIZONS
from dppo_rllib.environments.robomimic.experts import EXPERTS, make_expert
from dppo_rllib.environments.robomimic.experts.arm import Waypoint
from dppo_rllib.environments.robomimic.experts.expert import Expert
from dppo_rllib.environments.robomimic.experts.geometry import nearest_turn, wrapped
from dppo_rllib.environments.robomimic.experts.goals import fingers, still
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv


@pytest.fixture(scope="module")
def envs():
    """Environments of 10 copies, made once."""
    made = {}

    def of(task):
        if task not in made:
            made[task] = RobomimicVectorEnv(task, 10)
        return made[task]

    yield of
    for env in made.values():
        env.close()


def successes(env, expert):
    """Which copies solve the task and keep it solved for 4 steps."""
    rows = np.arange(env.num_envs)
    env.reset(seed=rows.tolist())
    expert.begin(rows, [np.random.default_rng(row) for row in rows.tolist()])
    held, done = np.zeros(env.num_envs, int), np.zeros(env.num_envs, bool)
    for _ in range(expert.max_steps):
        infos = env.step(expert.act(rows))[-1]
        held = np.where(infos["success"], held + 1, 0)
        done |= held >= 4
        if done.all():
            break
    return done


@pytest.mark.parametrize(
    "task, least",
    [
        ("lift", 10),
        pytest.param("can", 9, marks=pytest.mark.slow),
        pytest.param("square", 9, marks=pytest.mark.slow),
        pytest.param("transport", 9, marks=pytest.mark.slow),
    ],
)
def test_experts_succeed_where_nothing_disturbs_them(envs, task, least):
    assert successes(envs(task), make_expert(envs(task), 0.0)).sum() >= least


def test_experts_fail_the_more_the_less_perfect_they_are(envs):
    env = envs("lift")
    assert successes(env, make_expert(env, 4.0)).sum() <= 7


def test_actions_follow_from_the_generators_and_not_from_other_copies(envs):
    def actions(rows):
        env = envs("square")
        expert = make_expert(env, 1.0)
        env.reset(seed=list(range(10)))
        expert.begin(rows, [np.random.default_rng(row) for row in rows.tolist()])
        taken = []
        for _ in range(5):
            chosen = np.zeros((10, 7))
            chosen[rows] = expert.act(rows)
            env.step(chosen)
            taken.append(chosen[3])
        return np.array(taken)

    np.testing.assert_array_equal(actions(np.array([3])), actions(np.arange(2, 9)))


def test_actions_are_within_bounds_and_fingers_are_not_disturbed(envs):
    env = envs("can")
    expert, rows = make_expert(env), np.arange(10)
    env.reset(seed=0)
    expert.begin(rows, [np.random.default_rng(row) for row in rows.tolist()])
    actions = expert.act(rows)
    assert actions.shape == (10, 7) and np.abs(actions).max() <= 1
    assert expert.noise_scale.tolist() == [1.0] * 6 + [0.0]


def test_recorded_actions_lead_to_what_was_recorded(envs):
    env = envs("lift")
    recording = record_all(env, make_expert(env), episodes=3, noise=0.1, seed=5)
    demos = recording.demonstrations
    assert demos.fps == 20
    (replayed,) = np.split(np.arange(demos.num_frames), demos.episode_starts[1:])[1:2]
    seeds = [int(recording.seeds[1]) if row == 7 else None for row in range(10)]
    obs, _ = env.reset(seed=seeds, options={"reset_mask": np.arange(10) == 7})
    for frame in replayed:
        np.testing.assert_array_equal(demos.observations[frame], obs[7])
        actions = np.zeros((10, 7), np.float32)
        actions[7] = demos.actions[frame]
        obs, rewards, *_ = env.step(actions)
        assert rewards[7] == demos.rewards[frame]


def test_angles_are_turned_to_the_nearest():
    angles, to = np.array([0.1, 0.1, -3.0]), np.array([1.5, -3.0, 3.0])
    quarter = np.pi / 2
    expected = [0.1 + quarter, 0.1 - 2 * quarter, -3.0 + 4 * quarter]
    np.testing.assert_allclose(nearest_turn(angles, to, quarter), expected)
    np.testing.assert_allclose(wrapped(np.array([1.5 * np.pi, -1.0])), [-0.5 * np.pi, -1.0])


class TwoArms(Expert):
    """The second arm takes longer than the first; both close their fingers in the end."""

    max_steps, grasp_error, place_error = 20, 0.0, 0.0

    def _routes(self):
        wait, close = Waypoint(still, False, 0.01, 3, 3, together=True), Waypoint(still, True)
        return (wait, close), (fingers(False, steps=5), wait, close)


def test_arms_wait_for_one_another_and_go_on_together():
    env, rows = RobomimicVectorEnv("transport", 2), np.arange(2)
    env.reset(seed=0)
    expert = TwoArms(env)
    expert.begin(rows[:1], [np.random.default_rng(0)])
    for _ in range(4):
        expert.act(rows[:1])
    expert.begin(rows[1:], [np.random.default_rng(1)])
    actions = np.array([expert.act(rows) for _ in range(12)])
    closed = actions[..., [6, 13]] > 0
    assert (closed == (np.arange(12)[:, None] >= [4, 8])[..., None]).all()
    assert expert.noise_scale.tolist() == ([1.0] * 6 + [0.0]) * 2
    env.close()


def test_imperfections_out_of_range_and_tasks_without_expert_are_refused(envs, monkeypatch):
    with pytest.raises(ValueError, match="imperfection=-1"):
        make_expert(envs("lift"), -1.0)
    monkeypatch.delitem(EXPERTS, "lift")
    with pytest.raises(ValueError, match="task='lift': expected one of"):
        make_expert(envs("lift"))


def test_every_task_has_an_expert():
    assert set(HORIZONS) == set(EXPERTS)
