"""Which copies of a scene count as stable."""

import pytest
import torch

from dppo_rllib.environments.furniture.scene import scene
from dppo_rllib.environments.furniture.stability import sound


def states(copies=3):
    model = scene("lamp").model
    return torch.zeros(copies, model.nq), torch.zeros(copies, model.nv), torch.zeros(copies)


def test_what_lies_still_is_sound():
    assert sound(*states()).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_numbers_that_are_not_finite_are_not(which, value):
    tensors = states()
    if which == 2:
        value = -abs(value)  # nothing touches where the least distance is large
    tensors[which][1, ...] = value
    assert sound(*tensors).tolist() == [True, False, True]


@pytest.mark.parametrize("index, limit", [(0, 20.0), (4, 500.0)])
def test_flung_parts_are_not(index, limit):
    positions, velocities, deepest = states()
    at = scene("lamp").part_velocities[1] + index
    velocities[0, at], velocities[2, at] = -1.01 * limit, 0.99 * limit
    assert sound(positions, velocities, deepest).tolist() == [False, True, True]


def test_a_fast_arm_is():
    positions, velocities, deepest = states()
    velocities[:, :9] = 30.0
    assert sound(positions, velocities, deepest).all()


def test_bodies_far_inside_one_another_are_not():
    positions, velocities, deepest = states()
    deepest[:] = torch.tensor([-0.011, -0.009, 0.0])
    assert sound(positions, velocities, deepest).tolist() == [False, True, True]
