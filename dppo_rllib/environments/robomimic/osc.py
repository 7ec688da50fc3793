"""Operational space control of many arms, compiled: physics and control without Python in between.

robosuite computes the torques of an arm in Python, 500 times a simulated second. Here one compiled
function steps MuJoCo and computes them, over all sub-environments and the 25 physics steps of a
control step, without the interpreter's lock. The law is robosuite's OSC_POSE with delta commands
in world axes, position and orientation decoupled (Khatib 1987, "A unified approach for motion and
force control of robot manipulators").
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

# What one unit of an action moves: metres and radians.
POSITION_SCALE, ORIENTATION_SCALE = 0.05, 0.5
STIFFNESS = 150.0
DAMPING = 2 * math.sqrt(STIFFNESS)
NULLSPACE_STIFFNESS = 10.0
NULLSPACE_DAMPING = 2 * math.sqrt(NULLSPACE_STIFFNESS)
# Of its range, what a gripper closes or opens in a control step.
GRIPPER_SPEED = 0.2
# MuJoCo takes larger numbers for a simulation that has diverged (mjMAXVAL).
_DIVERGED = 1e10


def _compiled(function: Callable[..., None]) -> Any:
    """Compiles a function when it is first called, and keeps the result on disk."""
    # What checks types in tests has wrapped it by then.
    return njit(cache=True, nogil=True, error_model="numpy")(inspect.unwrap(function))


@intrinsic
def _call(typing_context: Any, function: Any, model: Any, data: Any) -> Any:
    """Calls a C function `void (model*, data*)` by its address, which can be cached on disk."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, pointer]).as_pointer()
        to = [kind, pointer, pointer]
        call, *values = (builder.inttoptr(a, t) for a, t in zip(args, to, strict=True))
        builder.call(call, values)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def _doubles(typing_context: Any, address: Any) -> Any:
    """The pointer to doubles at an address."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(types.int64), codegen


@_compiled
def _cholesky(a: np.ndarray, n: int) -> None:
    """Replaces the lower triangle of `a` by its factor."""
    for j in range(n):
        for k in range(j):
            for i in range(j, n):
                a[i, j] -= a[i, k] * a[j, k]
        root = math.sqrt(a[j, j])
        for i in range(j, n):
            a[i, j] /= root


@_compiled
def _solve(factor: np.ndarray, b: np.ndarray, n: int) -> None:
    """Replaces `b` by the solution for a factored matrix."""
    for i in range(n):
        for k in range(i):
            b[i] -= factor[i, k] * b[k]
        b[i] /= factor[i, i]
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            b[i] -= factor[k, i] * b[k]
        b[i] /= factor[i, i]


@_compiled
def _rotated(vector: np.ndarray, by: np.ndarray, out: np.ndarray) -> None:
    """`out = exp([vector]x) by`: a rotation matrix, turned by an axis times its angle.

    The turn is in single precision where robosuite's is.
    """
    angle = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    q = np.zeros(4, np.float32)
    q[0] = math.cos(angle / 2)
    if angle > 0:
        for i in range(3):
            q[1 + i] = vector[i] / angle * math.sin(angle / 2)
    q *= math.sqrt(2.0 / np.dot(q, q))
    turn = np.eye(3)
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        turn[i, i] = 1.0 - q[1 + j] * q[1 + j] - q[1 + k] * q[1 + k]
        turn[i, j] = q[1 + i] * q[1 + j] - q[1 + k] * q[0]
        turn[j, i] = q[1 + i] * q[1 + j] + q[1 + k] * q[0]
    for row in range(3):
        for column in range(3):
            total = 0.0
            for k in range(3):
                total += turn[row, k] * by[3 * k + column]
            out[3 * row + column] = total


@_compiled
def _torques(
    jacobian: np.ndarray,
    mass: np.ndarray,
    velocity: np.ndarray,
    nullspace: np.ndarray,
    wrench: np.ndarray,
    scratch: np.ndarray,
    out: np.ndarray,
) -> None:
    """`out = J^T [L_pos f; L_ori t] + N^T M a`, without gravity compensation.

    `L = (J M^-1 J^T)^-1`, `N = 1 - M^-1 J^T L J`, `wrench = [f; t]` and `nullspace` the joint
    accelerations `a` that must not move the hand. `N^T M a = M a - J^T L J a` needs no inverse of
    the mass matrix.
    """
    n = len(velocity)
    factor, half, full, part = scratch[0], scratch[1], scratch[2], scratch[3]
    force, move = scratch[4, 0], scratch[4, 1]
    factor[:n, :n] = mass
    _cholesky(factor, n)
    for r in range(6):  # L^-1 J^T, a row for each of J
        for i in range(n):
            value = jacobian[r, i]
            for k in range(i):
                value -= factor[i, k] * half[r, k]
            half[r, i] = value / factor[i, i]
    for r in range(6):
        for c in range(6):
            full[r, c] = 0.0
            for i in range(n):
                full[r, c] += half[r, i] * half[c, i]
    for start in (0, 3):
        part[:3, :3] = full[start : start + 3, start : start + 3]
        _cholesky(part, 3)
        force[start : start + 3] = wrench[start : start + 3]
        _solve(part, force[start : start + 3], 3)
    for r in range(6):
        move[r] = 0.0
        for i in range(n):
            move[r] += jacobian[r, i] * nullspace[i]
    _cholesky(full, 6)
    _solve(full, move, 6)
    for i in range(n):
        out[i] = 0.0
        for r in range(6):
            out[i] += jacobian[r, i] * (force[r] - move[r])
        for k in range(n):
            out[i] += mass[i, k] * nullspace[k]


@_compiled
def _control_arm(
    qpos: Any,
    qvel: Any,
    ctrl: Any,
    bias: Any,
    inertia: Any,
    anchor: Any,
    axis: Any,
    hand: np.ndarray,
    hand_axes: np.ndarray,
    goal: np.ndarray,
    goal_axes: np.ndarray,
    rest: np.ndarray,
    joints: np.ndarray,
    mass_entries: np.ndarray,
    limits: np.ndarray,
    scratch: np.ndarray,
) -> None:
    """Writes an arm's torques for the state that MuJoCo has just computed."""
    n = joints.shape[1]
    jacobian, mass = scratch[5, :6, :n], scratch[6, :n, :n]
    velocity, nullspace, torque = scratch[7, 0, :n], scratch[7, 1, :n], scratch[7, 2, :n]
    wrench = scratch[7, 3, :6]
    for i in range(n):
        joint, angle, dof = joints[0, i], joints[1, i], joints[2, i]
        x, y, z = axis[3 * joint], axis[3 * joint + 1], axis[3 * joint + 2]
        u = hand[0] - anchor[3 * joint]
        v = hand[1] - anchor[3 * joint + 1]
        w = hand[2] - anchor[3 * joint + 2]
        jacobian[0, i], jacobian[1, i], jacobian[2, i] = y * w - z * v, z * u - x * w, x * v - y * u
        jacobian[3, i], jacobian[4, i], jacobian[5, i] = x, y, z
        velocity[i] = qvel[dof]
        nullspace[i] = NULLSPACE_STIFFNESS * (rest[i] - qpos[angle]) - (
            NULLSPACE_DAMPING * qvel[dof]
        )
        for k in range(n):
            mass[i, k] = inertia[mass_entries[i, k]]
    for r in range(3):
        # Sum of the cross products of the axes, halved: the sine of the angle between them.
        a, b = (r + 1) % 3, (r + 2) % 3
        turn = 0.0
        for c in range(3):
            turn += hand_axes[3 * a + c] * goal_axes[3 * b + c]
            turn -= hand_axes[3 * b + c] * goal_axes[3 * a + c]
        linear = angular = 0.0
        for i in range(n):
            linear += jacobian[r, i] * velocity[i]
            angular += jacobian[3 + r, i] * velocity[i]
        wrench[r] = STIFFNESS * (goal[r] - hand[r]) - DAMPING * linear
        wrench[3 + r] = STIFFNESS * 0.5 * turn - DAMPING * angular
    _torques(jacobian, mass, velocity, nullspace, wrench, scratch, torque)
    for i in range(n):
        value = torque[i] + bias[joints[2, i]]
        ctrl[joints[3, i]] = min(max(value, limits[i, 0]), limits[i, 1])


@_compiled
def control_steps(
    rows: np.ndarray,
    actions: np.ndarray,
    functions: np.ndarray,
    addresses: np.ndarray,
    sizes: np.ndarray,
    joints: np.ndarray,
    mass_entries: np.ndarray,
    limits: np.ndarray,
    hands: np.ndarray,
    grippers: np.ndarray,
    gripper_limits: np.ndarray,
    rest: np.ndarray,
    gripper_state: np.ndarray,
    physics_steps: int,
    diverged: np.ndarray,
) -> None:
    """Holds an action for `physics_steps` steps of MuJoCo, in some of the sub-environments.

    Args:
        rows: Which sub-environments.
        actions: `[N, arms * 7]` in [-1, 1]: for each arm how far to move, by which axis times
            angle to turn, and below 0 to open the gripper or above to close it.
        functions: Addresses of `mj_step1` and `mj_step2`.
        addresses: `[N, 11]`, of each sub-environment: model, data, and of the data `qpos`, `qvel`,
            `ctrl`, `qfrc_bias`, `qM`, `xanchor`, `xaxis`, `site_xpos`, `site_xmat`.
        sizes: Numbers of positions, velocities, controls, inertias, joints and sites.
        joints: `[arms, 4, 7]`: joint, position, velocity and actuator of each joint of an arm.
        mass_entries: `[arms, 7, 7]`, where in `qM` the mass matrix of an arm is.
        limits: `[arms, 7, 2]`, torques.
        hands: `[arms]`, the site that is controlled.
        grippers: `[arms, 2]`, actuators of the fingers.
        gripper_limits: `[arms, 2, 2]`, of these.
        rest: `[N, arms, 7]`, where joints go as far as the hand does not mind.
        gripper_state: `[N, arms, 2]` in [-1, 1]; changed.
        physics_steps: In a control step.
        diverged: `[N]`; set to True where numbers are no longer finite.
    """
    arms = len(hands)
    scratch = np.zeros((8, 7, 7))
    goal, goal_axes = np.zeros((arms, 3)), np.zeros((arms, 9))
    for row in rows:
        model, data = addresses[row, 0], addresses[row, 1]
        qpos = carray(_doubles(addresses[row, 2]), sizes[0])
        qvel = carray(_doubles(addresses[row, 3]), sizes[1])
        ctrl = carray(_doubles(addresses[row, 4]), sizes[2])
        bias = carray(_doubles(addresses[row, 5]), sizes[1])
        inertia = carray(_doubles(addresses[row, 6]), sizes[3])
        anchor = carray(_doubles(addresses[row, 7]), 3 * sizes[4])
        axis = carray(_doubles(addresses[row, 8]), 3 * sizes[4])
        site_xpos = carray(_doubles(addresses[row, 9]), 3 * sizes[5])
        site_xmat = carray(_doubles(addresses[row, 10]), 9 * sizes[5])
        for step in range(physics_steps):
            _call(functions[0], model, data)
            for arm in range(arms):
                site = hands[arm]
                hand = site_xpos[3 * site : 3 * site + 3]
                hand_axes = site_xmat[9 * site : 9 * site + 9]
                if step == 0:
                    command = np.minimum(np.maximum(actions[row, 7 * arm : 7 * arm + 6], -1.0), 1.0)
                    goal[arm] = hand + POSITION_SCALE * command[:3]
                    _rotated(ORIENTATION_SCALE * command[3:], hand_axes, goal_axes[arm])
                    grip = GRIPPER_SPEED * np.sign(actions[row, 7 * arm + 6])
                    for finger, way in ((0, -1.0), (1, 1.0)):
                        state = gripper_state[row, arm, finger] + way * grip
                        state = min(max(state, -1.0), 1.0)
                        gripper_state[row, arm, finger] = state
                        low, high = gripper_limits[arm, finger]
                        ctrl[grippers[arm, finger]] = (low + high) / 2 + (high - low) / 2 * state
                _control_arm(
                    qpos, qvel, ctrl, bias, inertia, anchor, axis, hand, hand_axes, goal[arm],
                    goal_axes[arm], rest[row, arm], joints[arm], mass_entries[arm], limits[arm],
                    scratch,
                )  # fmt: skip
            _call(functions[1], model, data)
        for value in qvel:
            if not abs(value) < _DIVERGED:
                diverged[row] = True
        for value in qpos:
            if not abs(value) < _DIVERGED:
                diverged[row] = True
