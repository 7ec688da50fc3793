"""Rotations as tensors: matrices, quaternions (w, x, y, z as MuJoCo's), vectors, two rows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def matrix_of_quaternion(quat: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 3 3"]:
    """The matrix of a unit quaternion."""
    w, x, y, z = quat.unbind(-1)
    rows = [
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    ]
    return torch.stack(rows, dim=-1).reshape(*quat.shape[:-1], 3, 3)


def quaternion_of_matrix(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 4"]:
    """The unit quaternion whose real part is not negative.

    Of the four equal forms that is taken whose divisor is largest.
    """
    trace = matrix.diagonal(dim1=-2, dim2=-1)
    x, y, z = trace.unbind(-1)
    squares = torch.stack([1 + x + y + z, 1 + x - y - z, 1 - x + y - z, 1 - x - y + z], dim=-1)
    a, b, c = (matrix[..., i, j] - matrix[..., j, i] for i, j in ((2, 1), (0, 2), (1, 0)))
    d, e, f = (matrix[..., i, j] + matrix[..., j, i] for i, j in ((1, 0), (0, 2), (2, 1)))
    forms = torch.stack(
        [
            torch.stack([squares[..., 0], a, b, c], dim=-1),
            torch.stack([a, squares[..., 1], d, e], dim=-1),
            torch.stack([b, d, squares[..., 2], f], dim=-1),
            torch.stack([c, e, f, squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    quat = forms.gather(-2, best).squeeze(-2)
    quat = quat / quat.norm(dim=-1, keepdim=True)
    return torch.where(quat[..., :1] < 0, -quat, quat)


def matrix_of_rows(rows: Float[Tensor, "*n 6"]) -> Float[Tensor, "*n 3 3"]:
    """The matrix whose first two rows these become when made orthonormal (Zhou et al. 2019)."""
    first = torch.nn.functional.normalize(rows[..., :3], dim=-1)
    second = rows[..., 3:]
    second = second - (first * second).sum(dim=-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def rows_of_matrix(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 6"]:
    """The first two rows."""
    return matrix[..., :2, :].flatten(-2)


def vector_of_matrix(matrix: Float[Tensor, "*n 3 3"]) -> Float[Tensor, "*n 3"]:
    """The axis times the angle in [0, pi]."""
    quat = quaternion_of_matrix(matrix)
    sine = quat[..., 1:].norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(sine, quat[..., :1])
    tiny = torch.finfo(quat.dtype).tiny
    return torch.where(sine > 0, angle / sine.clamp_min(tiny), 2.0) * quat[..., 1:]
