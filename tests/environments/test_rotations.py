"""Rotations against scipy's."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.rotations import (
    matrix_of_quaternion,
    matrix_of_rows,
    quaternion_of_matrix,
    rows_of_matrix,
    vector_of_matrix,
)

components = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)


def rotations(quats):
    return Rotation.from_quat(np.array(quats)[:, [1, 2, 3, 0]])


def tensor(array):
    return torch.as_tensor(np.asarray(array, np.float64))


@given(st.lists(components, min_size=1, max_size=4))
def test_quaternions_and_matrices_are_scipys(quats):
    expected = rotations(quats)
    unit = tensor(expected.as_quat()[:, [3, 0, 1, 2]])
    matrix = matrix_of_quaternion(unit)
    np.testing.assert_allclose(matrix, expected.as_matrix(), atol=1e-12)
    again = quaternion_of_matrix(matrix)
    assert (again[:, 0] >= 0).all()
    np.testing.assert_allclose(matrix_of_quaternion(again), matrix, atol=1e-12)


@given(st.lists(components, min_size=1, max_size=4))
def test_rotation_vectors_are_scipys(quats):
    expected = rotations(quats)
    found = vector_of_matrix(tensor(expected.as_matrix()))
    turned = Rotation.from_rotvec(found.numpy()) * expected.inv()
    np.testing.assert_allclose(turned.magnitude(), 0, atol=1e-7)
    assert (found.norm(dim=-1) <= np.pi + 1e-9).all()


def test_half_turns_and_none_have_vectors():
    matrices = tensor([np.diag(d) for d in ([1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1])])
    vectors = vector_of_matrix(matrices)
    np.testing.assert_allclose(vectors.abs(), np.pi * np.array([[0, 0, 0], *np.eye(3)]), atol=1e-12)


@given(st.lists(components, min_size=1, max_size=4), st.floats(0.2, 5))
def test_two_rows_of_any_length_give_the_rotation_back(quats, scale):
    matrix = tensor(rotations(quats).as_matrix())
    np.testing.assert_allclose(matrix_of_rows(scale * rows_of_matrix(matrix)), matrix, atol=1e-12)


def test_rows_that_lean_are_made_orthonormal():
    matrix = matrix_of_rows(tensor([[2, 0, 0, 1, 3, 0]]))
    np.testing.assert_allclose(matrix[0], np.eye(3), atol=1e-12)
