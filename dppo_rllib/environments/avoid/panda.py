"""D3IL's arm in MuJoCo: a Panda that holds the rod upright, and what steers it.

The rod's command is followed by inverse kinematics, three small steps in every millisecond, whose
joint angles a soft controller tracks with compensated gravity. Numbers are those of D3IL (arXiv
2402.14606): `panda_rod.xml`, `mujoco_controller_config.gin`, `CartPosQuatImpedenceController`.
Its meshes and the 4 g at the rod's tip are left out, and its fingers do not move.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from dppo_rllib.environments.avoid.arm import STEP_SECONDS, Rows
from dppo_rllib.environments.avoid.table import PILLAR_RADII, PILLARS, ROD_RADIUS, START
from dppo_rllib.environments.kinematics import Arm, Hand
from dppo_rllib.environments.physics import mujoco
from dppo_rllib.environments.rotations import quaternion_of_matrix

_TIMESTEP = 0.001
_SUBSTEPS = round(STEP_SECONDS / _TIMESTEP)
_HEIGHT = 0.12  # of the point that is steered, between the fingertips (m)
_TIP, _BASE, _ROD = "tip", "link0", "rod"
_ROD_HALF_LENGTH, _PILLAR_HALF_HEIGHTS = 0.15, (0.07, 0.1, 0.1, 0.1, 0.1, 0.1)


class _Body(NamedTuple):
    """A link: where it is on the one before, and how its mass is spread (kg, m, kg m²)."""

    pos: tuple[float, float, float]
    quat: tuple[float, float, float, float]
    mass: float
    center: tuple[float, float, float]
    inertia: tuple[float, float, float]
    axes: tuple[float, float, float, float]


_UP, _DOWN, _EVEN = (0.5**0.5, 0.5**0.5, 0, 0), (0.5**0.5, -(0.5**0.5), 0, 0), (1.0, 0.0, 0.0, 0.0)
_JOINTED = (
    _Body(
        *((0, 0, 0.333), _EVEN, 2.77281, (1.1399e-05, -0.0312655, -0.0693733)),
        *((0.0164224, 0.0153969, 0.00546286), (0.98466, 0.174481, -0.000101815, 0.000347662)),
    ),
    _Body(
        *((0, 0, 0), _DOWN, 2.7996, (-1.31766e-05, -0.0703216, 0.0311782)),
        *((0.016787, 0.0157415, 0.00553027), (0.57484, 0.818266, -6.05764e-05, -6.61626e-05)),
    ),
    _Body(
        *((0, -0.316, 0), _UP, 2.14603, (0.0443483, 0.0249283, -0.03813)),
        *((0.00915257, 0.00896477, 0.00384742), (0.0615263, 0.349824, 0.234291, 0.904956)),
    ),
    _Body(
        *((0.0825, 0, 0), _UP, 2.18807, (-0.0385503, 0.0395256, 0.0247162)),
        *((0.00946899, 0.00928491, 0.00396694), (0.813566, 0.465041, 0.309792, 0.160858)),
    ),
    _Body(
        *((-0.0825, 0.384, 0), _DOWN, 3.19545, (-6.36776e-05, 0.0384124, -0.10997)),
        *((0.0278873, 0.0268823, 0.00569569), (0.990767, -0.135571, 0.000963106, 0.000694406)),
    ),
    _Body(
        *((0, 0, 0), _UP, 1.35761, (0.0510023, 0.00693267, 0.00616899)),
        *((0.00412168, 0.0033698, 0.00213304), (-0.0460841, 0.754362, 0.044494, 0.653325)),
    ),
    _Body(
        *((0.088, 0, 0), _UP, 0.417345, (0.0103614, 0.0103596, 0.0791078)),
        *((0.000637671, 0.000528056, 0.000279577), (0.63547, 0.278021, -0.670462, 0.263369)),
    ),
)
# Behind the last joint: a flange with the inertia that D3IL gives it, the hand, and its fingers,
# which are open. The fingertips weigh little and turn heavily there, too.
_FLANGE = _Body((0, 0, 0.107), _EVEN, 0.1, (0, 0, 0), (0.1, 0.1, 0.1), _EVEN)
_HAND = _Body(
    *((0, 0, 0), (0.92388, 0, 0, -0.382683), 0.670782, (-2.76618e-06, -0.00061547, 0.0239295)),
    *((0.00227632, 0.00206087, 0.000456542), (0.697945, 0.716151, -0.000242485, 8.47563e-05)),
)
_FINGERS = tuple(
    _Body((0, side * 0.04, 0.0584), _EVEN, mass, (0, side * y, z), (inertia,) * 3, _EVEN)
    for side in (1, -1)
    for mass, y, z, inertia in ((0.0218754, 0.012, 0.0238, 5e-6), (0.01, 0.0085, 0.056, 0.01))
)
_TIP_HEIGHT = 0.105  # of the steered point above the hand (m)

_LOWEST = torch.tensor([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973]).double()
_HIGHEST = torch.tensor([2.8973, 1.7628, 2.0, -0.0698, 2.8973, 3.7525, 2.8973]).double()
_TORQUES = (87, 87, 87, 87, 12, 12, 12)
_STIFFNESS = np.array([120.0, 120, 120, 120, 50, 30, 10])
_DAMPING = np.array([10.0, 10, 10, 10, 6, 5, 3])
# Inverse kinematics: rates of position, rotation and posture, how far off each counts at most, the
# step, how many, the fastest (rad/s), and between what the squares of singular values are kept.
_REST = torch.tensor([0, 0.174, 0, -0.872, 0, 1.222, 0.785]).double()
_RATES, _REST_RATE = torch.tensor([200.0, 200, 800, 30, 30, 30]).double(), 40.0
_FARTHEST, _FARTHEST_REST = torch.tensor([0.01] * 3 + [0.1] * 3).double(), 0.2
_STEP, _STEPS, _FASTEST, _SQUARES = 0.001, 3, 3.0, (1e-2, 1e2)
_UPRIGHT = torch.diag(torch.tensor([1.0, -1, -1])).double()
# To a start, in milliseconds; then how near the steered point must be to it (m).
_SETTLING, _NEAR = 500, 1e-6


class PandaRods:
    """`N` rods on tables of their own, each held by an arm in MuJoCo. As `Rods`, but slower.

    Args:
        num: `N`.

    Attributes:
        desired: Where they shall be, `[N]`, complex; see `table`.
        position: Where they are.
    """

    def __init__(self, num: int):
        self.desired, self.position = np.full((2, num), START)
        self._model, self._arm = _model_and_arm()
        self._datas = [mujoco.MjData(self._model) for _ in range(num)]
        self._command = torch.zeros(num, len(_JOINTED)).double()
        self._pillars = [self._model.geom(f"pillar{i}").id for i in range(len(PILLARS))]
        self.place(slice(None), self.desired)

    def place(self, rows: Rows, places: Complex[np.ndarray, " n"]) -> None:
        """Puts some rods somewhere, at rest."""
        if not len(places):
            return
        self.desired[rows] = self.position[rows] = places
        self._command[rows] = self._postures(places)
        for row in self._indices(rows):
            data = self._datas[row]
            mujoco.mj_resetData(self._model, data)
            data.qpos[:] = self._command[row]
            mujoco.mj_forward(self._model, data)

    def move(self, rows: Rows, changes: Complex[np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
        """Changes where some rods shall be, and lets them follow for one step.

        Returns:
            Whether they touch a pillar in the end, which is when D3IL looks for it.
        """
        if not len(changes):
            return np.zeros(0, bool)
        self.desired[rows] += changes
        targets, joints = _targets(self.desired[rows]), self._command[rows]
        datas = [self._datas[row] for row in self._indices(rows)]
        for _ in range(_SUBSTEPS):
            before, joints = joints, _follow(self._arm, joints, targets)
            self._push(datas, joints.numpy(), ((joints - before) / _TIMESTEP).numpy())
        self._command[rows] = joints
        hands = self._arm.hand(torch.as_tensor(np.array([data.qpos for data in datas])))
        x, y, _ = hands.position.T.numpy()
        self.position[rows] = x + 1j * y
        return np.array([self._touches(data) for data in datas])

    def _indices(self, rows: Rows) -> list[int]:
        return np.arange(len(self._datas))[rows].tolist()

    def _postures(self, places: Complex[np.ndarray, " n"]) -> Float[Tensor, "n 7"]:
        """Joint angles at rest, which follow from a place alone."""
        joints = _at_start(self._arm).repeat(len(places), 1)
        targets = _targets(places)
        if (self._arm.hand(joints).position - targets).abs().max() < _NEAR:
            return joints
        for _ in range(_SETTLING):
            joints = _follow(self._arm, joints, targets)
        return joints

    def _push(
        self, datas: list[Any], joints: Float[np.ndarray, "n 7"], speeds: Float[np.ndarray, "n 7"]
    ) -> None:
        """A millisecond of physics."""
        for data, wanted, speed in zip(datas, joints, speeds, strict=True):
            pull = _STIFFNESS * (wanted - data.qpos) + _DAMPING * (speed - data.qvel)
            data.ctrl[:] = pull + data.qfrc_bias
            mujoco.mj_step(self._model, data)

    def _touches(self, data: Any) -> bool:
        return bool(np.isin(data.contact.geom, self._pillars).any())


def _targets(places: Complex[np.ndarray, " n"]) -> Float[Tensor, "n 3"]:
    return torch.as_tensor(np.stack([places.real, places.imag, 0 * places.real + _HEIGHT], axis=-1))


@functools.cache
def _at_start(arm: Arm) -> Float[Tensor, "1 7"]:
    joints, targets = _REST[None], _targets(np.array([START]))
    for _ in range(_SETTLING):
        joints = _follow(arm, joints, targets)
    return joints


def _follow(
    arm: Arm, joints: Float[Tensor, "n 7"], targets: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 7"]:
    """Joint angles a millisecond later, as inverse kinematics wants them."""
    for _ in range(_STEPS):
        speed = _wanted_speed(arm.hand(joints), joints, targets)
        slower = _FASTEST / speed.norm(dim=-1, keepdim=True).clamp_min(_FASTEST)
        joints = (joints + _STEP * slower * speed).clamp(_LOWEST, _HIGHEST)
    return joints


def _wanted_speed(
    hand: Hand, joints: Float[Tensor, "n 7"], targets: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 7"]:
    """Of joints (rad/s): towards the target, upright, and besides towards the resting posture."""
    turn = quaternion_of_matrix(_UPRIGHT @ hand.rotation.transpose(-1, -2))[:, 1:]
    error = torch.cat([targets - hand.position, turn], dim=-1)
    wanted = _RATES * error.clamp(-_FARTHEST, _FARTHEST)
    posture = _REST_RATE * (_REST - joints).clamp(-_FARTHEST_REST, _FARTHEST_REST)
    jacobian = hand.jacobian
    squares, axes = torch.linalg.eigh(jacobian @ jacobian.transpose(-1, -2))
    rest = wanted - (jacobian @ posture[..., None]).squeeze(-1)
    along = (axes.transpose(-1, -2) @ rest[..., None]) / squares.clamp(*_SQUARES)[..., None]
    return posture + (jacobian.transpose(-1, -2) @ axes @ along).squeeze(-1)


@functools.cache
def _model_and_arm() -> tuple[Any, Arm]:
    model = _specification().compile()
    return model, Arm(model, _TIP, _BASE)


def _specification() -> Any:
    spec = mujoco.MjSpec()
    spec.modelname, spec.compiler.degree = "avoid", False
    option = spec.option
    option.timestep, option.gravity, option.tolerance = _TIMESTEP, [0, 0, -9.81], 1e-10
    option.cone, option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 3
    cylinder = mujoco.mjtGeom.mjGEOM_CYLINDER
    for i, (place, radius) in enumerate(zip(PILLARS, PILLAR_RADII, strict=True)):
        at = [place.real, place.imag, 0]
        size = [radius, _PILLAR_HALF_HEIGHTS[i], 0]
        spec.worldbody.add_geom(name=f"pillar{i}", type=cylinder, size=size, pos=at)
    body = spec.worldbody.add_body(name=_BASE)
    for i, link in enumerate(_JOINTED):
        body = _add(body, link)
        body.add_joint(name=f"joint{i}")
        spec.add_actuator(
            target=f"joint{i}",
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcelimited=True,
            forcerange=[-_TORQUES[i], _TORQUES[i]],
        )
    hand = _add(_add(body, _FLANGE), _HAND)
    for finger in _FINGERS:
        _add(hand, finger)
    rod = hand.add_body(name=_ROD)
    rod.add_geom(type=cylinder, size=[ROD_RADIUS, _ROD_HALF_LENGTH, 0], pos=[0, 0, 0.075])
    hand.add_body(name=_TIP, pos=[0, 0, _TIP_HEIGHT])
    return spec


def _add(body: Any, link: _Body) -> Any:
    return body.add_body(
        pos=link.pos,
        quat=link.quat,
        mass=link.mass,
        ipos=link.center,
        inertia=link.inertia,
        iquat=link.axes,
        explicitinertial=True,
    )
