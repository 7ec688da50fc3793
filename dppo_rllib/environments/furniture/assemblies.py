"""The three pieces of furniture: their parts, where these start, and what counts as assembled.

Numbers are Furniture-Bench's (its `config.py`, `sim_config.py`) and those of the reinforcement
learning environment of its fork (randomness, thresholds).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dppo_rllib.environments.furniture import shapes

_Matrix = tuple[tuple[float, float, float], ...]

# Orientations at the start, in the frame of the tag (x right, y away from the robot, z down).
_OPEN_UP: _Matrix = ((-1, 0, 0), (0, 0, -1), (0, -1, 0))
_LYING: _Matrix = ((0, 0, -1), (0, 1, 0), (1, 0, 0))
_FOOT_DOWN: _Matrix = ((1, 0, 0), (0, 0, -1), (0, 1, 0))
_AS_DRAWN: _Matrix = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
_TURNED_Y: _Matrix = ((-1, 0, 0), (0, 1, 0), (0, 0, -1))
_TURNED_X: _Matrix = ((1, 0, 0), (0, -1, 0), (0, 0, -1))


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes:
        name: Also of its mesh.
        mesh: Below the package's folder of meshes.
        density: kg/m³.
        position: At the start, in the frame of the tag (m).
        orientation: The same, a matrix.
        shape: Adds what collides.
        force: By which a push at the start is multiplied.
        torque: The same for a twist.
        color: For pictures.
    """

    name: str
    mesh: str
    density: float
    position: tuple[float, float, float]
    orientation: _Matrix
    shape: Callable[[Any], None]
    force: float
    torque: float
    color: tuple[float, float, float]


@dataclass(frozen=True)
class Joint:
    """Two parts that are to be assembled.

    Attributes:
        base: Index of a part.
        part: Index of the part that is joined to it.
        positions: Where in the base's frame it may be, any of them (m).
        rotation: How, in that frame; None where it does not matter.
    """

    base: int
    part: int
    positions: tuple[tuple[float, float, float], ...]
    rotation: _Matrix | None


@dataclass(frozen=True)
class Assembly:
    """A piece of furniture.

    Attributes:
        name: Of the task.
        parts: In the order of observations.
        joints: What is to be assembled.
        max_episode_steps: Of 0.1 s.
        gripper_width: Of the open gripper (m).
        held_part: Which part stays where it is until the hand comes near, or None.
    """

    name: str
    parts: tuple[Part, ...]
    joints: tuple[Joint, ...]
    max_episode_steps: int
    gripper_width: float
    held_part: int | None = None

    @property
    def obs_dim(self) -> int:
        """Width of an observation: robot, parts and obstacle."""
        return 16 + 7 * (len(self.parts) + 1)


def _euler(x: float, y: float, z: float) -> _Matrix:
    """Rotation about the fixed axes x, then y, then z."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (x, y, z) for f in (math.cos, math.sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return tuple(map(tuple, (about_z @ about_y @ about_x).tolist()))


_WHITE, _DARK, _WOOD = (0.85, 0.85, 0.82), (0.22, 0.23, 0.26), (0.72, 0.5, 0.3)


def _leg(number: int, x: float) -> Part:
    name = f"square_table_leg{number}"
    screws = number == 4
    return Part(
        name=name,
        mesh=f"square_table/{name}",
        density=369.98,
        position=(x, 0.07, -0.015),
        orientation=_LYING,
        shape=shapes.square_table_screw_leg if screws else shapes.square_table_leg,
        force=1,
        torque=1,
        color=_WOOD if screws else _WHITE,
    )


_SQUARE_TABLE_TOP = Part(
    name="square_table_top",
    mesh="square_table/square_table_top",
    density=498.68,
    position=(0, 0.24, -0.015625),
    orientation=_OPEN_UP,
    shape=shapes.square_table_top,
    force=25,
    torque=70,
    color=_DARK,
)

ONE_LEG = Assembly(
    name="one_leg",
    parts=(_SQUARE_TABLE_TOP, _leg(1, -0.2), _leg(2, -0.12), _leg(3, 0.12), _leg(4, 0.2)),
    joints=(
        Joint(
            0,
            4,
            tuple((x, 0.046875, z) for x in (-0.05625, 0.05625) for z in (-0.05625, 0.05625)),
            _AS_DRAWN,
        ),
    ),
    max_episode_steps=700,
    gripper_width=0.065,
)

LAMP = Assembly(
    name="lamp",
    parts=(
        Part(
            name="lamp_base",
            mesh="lamp/lamp_base",
            density=341.54,
            position=(0.05, 0.14, -0.02),
            orientation=_FOOT_DOWN,
            shape=shapes.lamp_base,
            force=8,
            torque=16,
            color=_DARK,
        ),
        Part(
            name="lamp_bulb",
            mesh="lamp/lamp_bulb",
            density=545.09,
            position=(0.18, 0.13, -0.03),
            orientation=_AS_DRAWN,
            shape=shapes.lamp_bulb,
            force=15,
            torque=20,
            color=_WHITE,
        ),
        Part(
            name="lamp_hood",
            mesh="lamp/lamp_hood",
            density=762.31,
            position=(-0.12, 0.16, -0.048583),
            orientation=_FOOT_DOWN,
            shape=shapes.lamp_hood,
            force=30,
            torque=60,
            color=_WOOD,
        ),
    ),
    joints=(
        Joint(0, 1, ((0, -0.0678, 0),), _euler(0, 0, math.pi)),
        Joint(0, 2, ((0, -0.088324, 0),), None),
    ),
    max_episode_steps=1000,
    gripper_width=0.07,
    held_part=1,
)

ROUND_TABLE = Assembly(
    name="round_table",
    parts=(
        Part(
            name="round_table_top",
            mesh="round_table/round_table_top",
            density=472.34,
            position=(0, 0.24, -0.001),
            orientation=_TURNED_Y,
            shape=shapes.round_table_top,
            force=30,
            torque=60,
            color=_DARK,
        ),
        Part(
            name="round_table_leg",
            mesh="round_table/round_table_leg",
            density=414.52,
            position=(0.13, 0.1, -0.02125),
            orientation=_AS_DRAWN,
            shape=shapes.round_table_leg,
            force=4,
            torque=4,
            color=_WOOD,
        ),
        Part(
            name="round_table_base",
            mesh="round_table/round_table_base",
            density=533.11,
            position=(-0.12, 0.12, -0.02875),
            orientation=_TURNED_X,
            shape=shapes.round_table_base,
            force=20,
            torque=10,
            color=_WHITE,
        ),
    ),
    joints=(
        Joint(0, 1, ((0, 0, 0.044375),), _euler(math.pi / 2, 0, math.pi + math.pi / 36)),
        Joint(1, 2, ((0, 0.053125, 0),), _euler(-math.pi / 2, math.pi / 2, 0)),
    ),
    max_episode_steps=1000,
    gripper_width=0.065,
)

ASSEMBLIES = {assembly.name: assembly for assembly in (ONE_LEG, LAMP, ROUND_TABLE)}
