"""What the tasks of Robomimic show of a scene, and when they are solved.

States are laid out as those of the demonstrations, which robosuite 1.4 recorded: of every robot the
position of its hand, the orientation of its wrist (x, y, z, w) and both fingers; then the objects.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.robomimic.simulation import Rows, Simulation

_QPOS = operator.attrgetter("qpos")
_BODY_POSITION, _BODY_ORIENTATION = operator.attrgetter("xpos"), operator.attrgetter("xquat")
_SITE_POSITION = operator.attrgetter("site_xpos")
_GEOM_POSITION, _GEOM_AXES = operator.attrgetter("geom_xpos"), operator.attrgetter("geom_xmat")

Objects = Float[np.ndarray, "n Do"]
Solved = Bool[np.ndarray, " n"]
# How far at most a hand is from what it has let go: 1 - tanh(10 d) < 0.6 is "far".
_RELEASED = float(np.arctanh(0.4)) / 10


@dataclass(frozen=True)
class Manipulation:
    """A task.

    Attributes:
        name: In lower case, as in Robomimic's files.
        robosuite_name: robosuite's.
        robots: How many arms.
        cameras: What policies from pixels see.
        object_dim: How wide the objects' part of a state is.
        objects: Reads it.
        solved: Whether a task is solved just now.
    """

    name: str
    robosuite_name: str
    robots: int
    cameras: tuple[str, ...]
    object_dim: int
    objects: Callable[[Simulation, Rows], Objects]
    solved: Callable[[Simulation, Rows], Solved]

    @property
    def proprioception_dim(self) -> int:
        """How wide the robots' part of a state is."""
        return 9 * self.robots

    @property
    def action_dim(self) -> int:
        """`Da`."""
        return 7 * self.robots


def proprioception(sim: Simulation, rows: Rows) -> Float[np.ndarray, "n Dp"]:
    """The robots' part of a state, `Dp = 9 robots`."""
    arms = sim.scene.arms
    parts = (
        sim.gather(_SITE_POSITION, arms.hands, rows),
        _last_real(sim.gather(_BODY_ORIENTATION, arms.wrists, rows)),
        sim.gather(_QPOS, arms.fingers, rows),
    )
    return np.concatenate(parts, axis=-1).reshape(len(rows), -1)


def _last_real(orientation: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
    """(x, y, z, w) of MuJoCo's (w, x, y, z)."""
    return np.roll(orientation, -1, axis=-1)


def _upright(orientation: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 4"]:
    """Of the two quaternions of an orientation the one whose real part is not negative."""
    return np.where(orientation[..., 3:] < 0, -orientation, orientation)


def _body(sim: Simulation, name: str, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    body = sim.scene.model.body(name).id
    position = sim.gather(_BODY_POSITION, body, rows)
    return position, _last_real(sim.gather(_BODY_ORIENTATION, body, rows))


def _hand(sim: Simulation, rows: Rows, robot: int = 0) -> Float[np.ndarray, "n 3"]:
    return sim.gather(_SITE_POSITION, sim.scene.arms.hands[robot], rows)


# --- Lift ---------------------------------------------------------------------------------------


def _lift_objects(sim: Simulation, rows: Rows) -> Objects:
    position, orientation = _body(sim, "cube_main", rows)
    return np.concatenate([position, orientation, _hand(sim, rows) - position], axis=-1)


def _lift_solved(sim: Simulation, rows: Rows) -> Solved:
    table = sim.scene.env.table_offset[2]
    return _body(sim, "cube_main", rows)[0][:, 2] > table + 0.04


# --- Can and Square -----------------------------------------------------------------------------


def _with_pose_in_hand(sim: Simulation, name: str, rows: Rows) -> Objects:
    """Pose of an object in the world, and seen from the hand along the axes of the wrist."""
    position, orientation = _body(sim, name, rows)
    wrist = sim.gather(_BODY_ORIENTATION, sim.scene.arms.wrists[0], rows)
    to_wrist = Rotation.from_quat(_last_real(wrist)).inv()
    relative = to_wrist.apply(position - _hand(sim, rows))
    turn = (to_wrist * Rotation.from_quat(orientation)).as_quat()
    return np.concatenate([position, orientation, relative, _upright(turn)], axis=-1)


def _released(sim: Simulation, position: np.ndarray, rows: Rows) -> Solved:
    return np.linalg.norm(_hand(sim, rows) - position, axis=-1) > _RELEASED


def _can_objects(sim: Simulation, rows: Rows) -> Objects:
    return _with_pose_in_hand(sim, "Can_main", rows)


def _can_solved(sim: Simulation, rows: Rows) -> Solved:
    env = sim.scene.env
    # Of the four compartments of the second bin that of the cans: the last.
    low = np.asarray(env.bin2_pos, float)
    high = low + [env.bin_size[0] / 2, env.bin_size[1] / 2, 0.1]
    position = _body(sim, "Can_main", rows)[0]
    inside = ((low < position) & (position < high)).all(axis=-1)
    return inside & _released(sim, position, rows)


def _square_objects(sim: Simulation, rows: Rows) -> Objects:
    return _with_pose_in_hand(sim, "SquareNut_main", rows)


def _square_solved(sim: Simulation, rows: Rows) -> Solved:
    position = _body(sim, "SquareNut_main", rows)[0]
    peg = _body(sim, "peg1", rows)[0]
    around = (np.abs(position - peg)[:, :2] < 0.03).all(axis=-1)
    below = position[:, 2] < sim.scene.env.table_offset[2] + 0.05
    return around & below & _released(sim, position, rows)


# --- Transport ----------------------------------------------------------------------------------


def _transport_objects(sim: Simulation, rows: Rows) -> Objects:
    group = sim.scene.env.transport
    payload, payload_turn = _body(sim, group.payload.root_body, rows)
    trash, trash_turn = _body(sim, group.trash.root_body, rows)
    lid = group.lid_handle_geom_ids[0]
    handle = sim.gather(_GEOM_POSITION, lid, rows)
    handle_axes = sim.gather(_GEOM_AXES, lid, rows).reshape(-1, 3, 3)
    first, second = _hand(sim, rows), _hand(sim, rows, 1)
    parts = (
        payload,
        _upright(payload_turn),
        trash,
        _upright(trash_turn),
        handle,
        _upright(Rotation.from_matrix(handle_axes).as_quat()),
        sim.gather(_GEOM_POSITION, group.target_bin_base_geom_ids[0], rows),
        sim.gather(_GEOM_POSITION, group.trash_bin_base_geom_ids[0], rows),
        payload - first,
        handle - first,
        payload - second,
        trash - second,
        *(placed[:, None] for placed in _transport_placed(sim, rows)),
    )
    return np.concatenate(parts, axis=-1)


def _transport_placed(sim: Simulation, rows: Rows) -> tuple[Solved, Solved]:
    """Whether the payload touches the ground of its bin, and the trash that of its own."""
    group = sim.scene.env.transport
    return (
        sim.touching(group.target_bin_base_geom_ids, group.payload_geom_ids, rows),
        sim.touching(group.trash_bin_base_geom_ids, group.trash_geom_ids, rows),
    )


def _transport_solved(sim: Simulation, rows: Rows) -> Solved:
    payload, trash = _transport_placed(sim, rows)
    return payload & trash


LIFT = Manipulation(
    "lift",
    "Lift",
    robots=1,
    cameras=("robot0_eye_in_hand",),
    object_dim=10,
    objects=_lift_objects,
    solved=_lift_solved,
)
CAN = Manipulation(
    "can",
    "PickPlaceCan",
    robots=1,
    cameras=("robot0_eye_in_hand",),
    object_dim=14,
    objects=_can_objects,
    solved=_can_solved,
)
SQUARE = Manipulation(
    "square",
    "NutAssemblySquare",
    robots=1,
    cameras=("agentview",),
    object_dim=14,
    objects=_square_objects,
    solved=_square_solved,
)
TRANSPORT = Manipulation(
    "transport",
    "TwoArmTransport",
    robots=2,
    cameras=("shouldercamera0", "shouldercamera1"),
    object_dim=41,
    objects=_transport_objects,
    solved=_transport_solved,
)
MANIPULATIONS = {task.name: task for task in (LIFT, CAN, SQUARE, TRANSPORT)}
