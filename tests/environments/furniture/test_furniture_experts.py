"""The moves of scripted experts, and whether these assemble furniture."""

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
    hand_pose,
    lower,
    nearest_yaw,
    set_down,
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


def test_a_part_is_set_down_where_something_carries_it():
    view = holding(0.1)
    actions = follow(view, set_down(view, 0, over_origin), floor=0.083)
    grips = [action[-1] for action in actions]
    assert view.parts[0].position[2] == pytest.approx(0.083)
    assert grips == [SHUT] * (len(grips) - 1) + [OPEN]
    assert len(grips) < 15


def test_a_part_is_lowered_stage_by_stage():
    view = holding(0.3)
    heights = [action[2] for action in follow(view, lower(view, 0, over_origin, [(0.1, 0.01)]))]
    assert heights == sorted(heights, reverse=True)
    assert view.parts[0].position[2] == pytest.approx(0.1, abs=0.01)


def test_nothing_is_lowered_or_set_down_that_has_slipped_away():
    view = holding(0.3, width=0.0)
    assert not list(lower(view, 0, over_origin, [(0.1, 0.01)]))
    assert {action[-1] for action in set_down(view, 0, over_origin)} == {OPEN}


def test_fingers_are_waited_for_until_they_stand_still():
    view, widths, actions = holding(0.1, width=0.065), [0.05, 0.035, 0.03, 0.03, 0.03], []
    for action, width in zip(switch(view, SHUT), widths, strict=False):
        actions.append(action)
        view.width = width
    assert [action[-1] for action in actions] == [SHUT] * 4
    np.testing.assert_allclose([action[:3] for action in actions], [[0, 0, 0.1]] * 4)


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
@pytest.mark.parametrize("name, wanted", [("one_leg", 3), ("lamp", 3), ("round_table", 1)])
def test_experts_assemble_furniture(name, wanted):
    """So many times of four and more, within the benchmark's time."""
    envs = FurnitureVectorEnv(name, num_envs=2)
    successes = list(record_successes(envs, FurnitureExpert(envs), episodes=wanted, noise=0.0))
    envs.close()
    assert successes[-1].attempts <= 4
    for success in successes:
        assert success.demonstration.rewards.sum() == len(envs.assembly.joints)
