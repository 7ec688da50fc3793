"""The moves of scripted experts, and whether these assemble furniture."""

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dppo_rllib.datasets.scripted import record_successes
from dppo_rllib.environments.furniture.experts import FurnitureExpert
from dppo_rllib.environments.furniture.experts.moves import (
    OPEN,
    SHUT,
    Pose,
    View,
    approach,
    hand_pose,
    lower,
    nearest_yaw,
    plug_in,
    sink,
    switch,
)
from dppo_rllib.environments.furniture.vector_env import FurnitureVectorEnv

UPRIGHT = Rotation.identity()


def holding(height: float, width: float = 0.03) -> View:
    """A hand that holds a part at a height above the origin."""
    hand = hand_pose(np.array([0, 0, height]), 0.0)
    return View(hand, width, [Pose(hand.position.copy(), UPRIGHT)], np.zeros(3), [False])


def over_origin(height: float) -> Pose:
    return Pose(np.array([0, 0, height]), UPRIGHT)


def follow(view: View, plan, floor: float = -1.0) -> list:
    """The actions of a plan whose part goes where the hand wants it, but not below a floor."""
    actions = []
    for action in plan:
        actions.append(action)
        moved = np.array([*action[:2], max(action[2], floor)])
        view.hand = Pose(moved, view.hand.rotation)
        view.parts = [Pose(moved, UPRIGHT)]
    return actions


def test_a_part_sinks_until_something_carries_it():
    view = holding(0.1)
    actions = follow(view, sink(view, 0, over_origin), floor=0.083)
    assert view.parts[0].position[2] == pytest.approx(0.083)
    assert {action[-1] for action in actions} == {SHUT} and len(actions) < 14


@pytest.mark.parametrize("floor, lifts", [(0.004, 0), (0.009, 2)])
def test_a_part_is_let_go_in_its_hole_and_lifted_from_its_rim(floor, lifts):
    view = holding(0.05)
    actions = follow(view, plug_in(view, 0, over_origin), floor=floor)
    heights, grips = zip(*[(action[2], action[-1]) for action in actions], strict=True)
    assert grips == (SHUT,) * (len(grips) - 1) + (OPEN,)
    lifted = np.diff(np.maximum(heights, floor)) > 0.02
    assert lifted.sum() == lifts


@pytest.mark.parametrize("beside, lowest", [(0.0, 0.02), (0.013, 0.06), (0.1, 0.1)])
def test_a_part_is_lowered_as_far_as_it_is_aligned(beside, lowest):
    """3 mm beside its place are near enough; 20 mm more are as good as any."""
    view = holding(0.3)
    plan = lower(view, 0, over_origin, high=0.1, low=0.02)
    for action in itertools.islice(plan, 60):
        view.hand = Pose(np.array([beside, 0, action[2]]), view.hand.rotation)
        view.parts = [Pose(view.hand.position, UPRIGHT)]
    assert view.parts[0].position[2] == pytest.approx(lowest, abs=0.005)


@pytest.mark.parametrize("turned, lowest", [(0.0, 0.0), (0.1, 0.0), (0.32, 0.03), (2.0, 0.06)])
def test_the_hand_comes_near_as_far_as_it_is_aligned(turned, lowest):
    view = holding(0.3, width=0.065)
    goal = hand_pose(np.zeros(3), 0.5)
    for action in itertools.islice(approach(view, lambda: goal, 0.06), 60):
        assert action[-1] == OPEN
        view.hand = Pose(action[:3], hand_pose(np.zeros(3), 0.5 + turned).rotation)
    assert view.hand.position[2] == pytest.approx(lowest, abs=0.001)


def test_what_an_approach_does_next_follows_from_where_the_hand_is():
    """Not from how it came there: clones see no more."""
    goal = hand_pose(np.zeros(3), 0.0)
    views = [holding(height) for height in (0.3, 0.12)]
    plans = [approach(view, lambda: goal, 0.06) for view in views]
    for view, plan in zip(views, plans, strict=True):
        next(plan)
        view.hand = hand_pose(np.array([0.01, 0, 0.05]), 0.2)
    first, second = (next(plan) for plan in plans)
    np.testing.assert_array_equal(first, second)


def test_nothing_is_lowered_that_has_slipped_away():
    view = holding(0.3, width=0.0)
    assert not list(lower(view, 0, over_origin, high=0.1, low=0.02))
    assert [action[-1] for action in plug_in(view, 0, over_origin)] == [OPEN]


def test_the_hand_stays_where_it_is_while_fingers_move():
    ((*place, _, _, _, _, _, _, grip),) = switch(holding(0.1, width=0.065), SHUT)
    assert (place, grip) == ([0, 0, 0.1], SHUT)


def test_an_expert_gives_up_where_the_arm_is_flung_about():
    envs, rows = FurnitureVectorEnv("one_leg", num_envs=2), np.arange(2)
    envs.reset(seed=0)
    expert = FurnitureExpert(envs)
    expert.begin(rows, [np.random.default_rng(row) for row in rows])
    expert.act(rows)
    envs.simulation.positions[0, 0] += 0.4
    hand = envs.hand().position[0].numpy()
    for _ in range(3):
        given_up, goes_on = expert.act(rows)
        np.testing.assert_allclose(given_up[:3], hand, atol=1e-9)
        assert np.linalg.norm(goes_on[:3] - envs.hand().position[1].numpy()) > 0.01
    envs.close()


@pytest.mark.parametrize("wanted", np.radians([-60, 0, 45, 130]))
def test_the_yaw_that_is_nearest_is_within_half_a_symmetry(wanted):
    for angle in np.radians([-170, -20, 0, 33, 90]):
        along = Rotation.from_euler("z", angle).apply([0.0, 1, 0])
        yaw = nearest_yaw(along, wanted, np.pi / 2)
        assert abs(yaw - wanted) <= np.pi / 4 + 1e-9
        assert np.isclose((yaw - angle) % (np.pi / 2), [0, np.pi / 2]).any()


@pytest.mark.slow
@pytest.mark.timeout(1200)  # minutes, and more of them on a busy machine
@pytest.mark.parametrize("name, wanted", [("one_leg", 4), ("lamp", 3), ("round_table", 2)])
def test_experts_assemble_furniture(name, wanted):
    """So many times of four at least, within the benchmark's time."""
    envs = FurnitureVectorEnv(name, num_envs=2)
    expert = FurnitureExpert(envs, imperfection=0.0)
    successes = list(record_successes(envs, expert, episodes=wanted, noise=0.0))
    envs.close()
    assert successes[-1].attempts <= 4
    for success in successes:
        assert success.demonstration.rewards.sum() == len(envs.assembly.joints)
