"""The scene of an assembly: the table, the obstacle, the Panda and the parts."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float

from dppo_rllib.environments.furniture.assemblies import ASSEMBLIES, Assembly, Part
from dppo_rllib.environments.furniture.assets import panda_mesh, panda_urdf, part_mesh
from dppo_rllib.environments.furniture.solids import BODY, NOTHING, PART_FRICTION, ROBOT
from dppo_rllib.environments.physics import mujoco

CONTROL_HZ = 10
TIMESTEP = 1 / 480
PHYSICS_STEPS = 48

SURFACE = 0.415
BASE = np.array([-0.3, 0.0, SURFACE + 0.015])
# The tag, in whose frame parts are observed, lies on the table before the robot: its axes are the
# robot's y, x and -z.
TAG_ROTATION = np.array([[0.0, 1, 0], [1, 0, 0], [0, 0, -1]])
TAG = BASE + np.array([0.3015, 0, -0.015])
OBSTACLE = np.array([TAG[0] + 0.38, 0.0, SURFACE + 0.015])
# What is observed is its front bar, which the original lays a quarter turn about the vertical
# (quaternion w, x, y, z).
OBSTACLE_TURN = np.array([0.5**0.5, 0.0, 0.0, 0.5**0.5])
REST = np.array(
    [-0.02630888, 0.3758795, 0.12485036, -2.1383357, -0.09431414, 2.49649072, 0.01921718]
)

HAND, HAND_BASE = "k_ee_link", "panda_link0"
_ARM = tuple(f"panda_joint{i}" for i in range(1, 8))
_FINGERS = ("panda_finger_joint1", "panda_finger_joint2")
_STIFFNESS, _DAMPING = 1000.0, 200.0
_GRIP_FORCE, _GRIP_STIFFNESS, _GRIP_DAMPING = 13.0, 5000.0, 65.0
# Below 0, so that closed fingers press with their full force on what is thin.
CLOSED = -0.02
# PhysX takes the mean of two bodies' friction: 0.1 and 0.15, and 0.15 and 1 for the fingers.
_TABLE_FRICTION, _FINGER_FRICTION = (0.125, 0.005, 0.0001), (0.575, 0.02, 0.0001)


@dataclass(frozen=True)
class Scene:
    """A model and where things are in it.

    Attributes:
        assembly: What is assembled.
        model: MuJoCo's.
        parts: First coordinate of each part in `qpos` (position, then quaternion w, x, y, z).
        part_velocities: The same in `qvel` (linear in the world, then angular in the part).
        part_bodies: Their bodies.
        hold: The constraint that holds `assembly.held_part`, or None; its anchor is mocap body 1.
        held: Where the held part's coordinates begin in `qpos`, or None.
    """

    assembly: Assembly
    model: Any
    parts: tuple[int, ...]
    part_velocities: tuple[int, ...]
    part_bodies: tuple[int, ...]
    hold: int | None
    held: int | None


@functools.cache
def scene(name: str) -> Scene:
    """The scene of "one_leg", "lamp" or "round_table".

    Raises:
        ImportError: furniture-bench's meshes are not installed.
        ValueError: There is no such assembly.
    """
    if name not in ASSEMBLIES:
        raise ValueError(f"assembly={name!r}: expected one of {sorted(ASSEMBLIES)}")
    assembly = ASSEMBLIES[name]
    spec = specification(assembly)
    _let_sleep(spec, assembly)
    model = spec.compile()
    joints = [model.joint(part.name) for part in assembly.parts]
    parts = tuple(int(joint.qposadr[0]) for joint in joints)
    holds = assembly.held_part is not None
    return Scene(
        assembly,
        model,
        parts,
        tuple(int(joint.dofadr[0]) for joint in joints),
        tuple(int(model.body(part.name).id) for part in assembly.parts),
        int(model.equality("hold").id) if holds else None,
        parts[assembly.held_part] if assembly.held_part is not None else None,
    )


def _let_sleep(spec: Any, assembly: Assembly) -> None:
    """What lies still costs nothing then: most parts do, most of the time."""
    spec.option.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
    if assembly.held_part is not None:
        # A constraint must not be switched on or off in a part's sleep.
        held = spec.body(assembly.parts[assembly.held_part].name)
        held.sleep = mujoco.mjtSleepPolicy.mjSLEEP_NEVER


def specification(assembly: Assembly) -> Any:
    """The scene in MuJoCo's editable form; nothing sleeps in it."""
    spec = _panda(assembly.gripper_width)
    spec.modelname = assembly.name
    _options(spec)
    _surroundings(spec)
    for part in assembly.parts:
        _part(spec, part)
    if assembly.held_part is not None:
        _hold(spec, assembly.parts[assembly.held_part])
    for geom in spec.geoms:
        geom.solref[:2], geom.solimp[:3] = [2 * TIMESTEP, 1], [0.95, 0.99, 0.001]
    return spec


def _options(spec: Any) -> None:
    option = spec.option
    option.timestep, option.gravity = TIMESTEP, [0, 0, -9.8]
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone, option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 20
    option.iterations, option.ls_iterations = 50, 50
    spec.visual.quality.shadowsize = 1024
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 640, 480


def _surroundings(spec: Any) -> None:
    world = spec.worldbody
    world.add_light(pos=[0.5, -0.8, 2], dir=[-0.2, 0.4, -1], diffuse=[0.5] * 3)
    # One shadow, and a coarse one: without a GPU shadows are most of what a picture costs.
    world.add_light(pos=[-0.6, 0.8, 2], dir=[0.3, -0.4, -1], diffuse=[0.4] * 3, castshadow=False)
    world.add_camera(name="front", pos=[0.95, 0, 0.95], xyaxes=[0, 1, 0, -0.62, 0, 0.78])
    box = mujoco.mjtGeom.mjGEOM_BOX
    ground = mujoco.mjtGeom.mjGEOM_PLANE
    world.add_geom(name="ground", type=ground, size=[2, 2, 0.1], rgba=[0.2, 0.2, 0.2, 1], **BODY)
    world.add_geom(
        name="table",
        type=box,
        size=[0.65, 0.4, 0.015],
        pos=[0, 0, SURFACE - 0.015],
        rgba=[0.42, 0.38, 0.34, 1],
        friction=_TABLE_FRICTION,
        priority=1,
        **BODY,
    )
    obstacle = world.add_body(name="obstacle", pos=OBSTACLE, mocap=True)
    for name, size, pos in (
        ("front", [0.01, 0.175, 0.015], [0, 0, 0]),
        ("right", [0.085, 0.01, 0.015], [-0.075, -0.175, 0]),
        ("left", [0.085, 0.01, 0.015], [-0.075, 0.175, 0]),
    ):
        obstacle.add_geom(
            name=f"obstacle_{name}",
            type=box,
            size=size,
            pos=pos,
            rgba=[0.8, 0.8, 0.8, 1],
            friction=PART_FRICTION,
            **BODY,
        )


def _panda(gripper_width: float) -> Any:
    """The arm: position servos that gravity does not disturb; only hand and fingers touch."""
    spec = mujoco.MjSpec.from_file(str(panda_urdf()))
    spec.compiler.fusestatic = False
    spec.compiler.discardvisual = False  # as MuJoCo does to robots described by URDF
    spec.compiler.balanceinertia = True
    for mesh in spec.meshes:
        mesh.file = str(panda_mesh(mesh.file))
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX
    spec.body(HAND_BASE).pos = BASE
    for body in spec.bodies[1:]:
        body.gravcomp = 1
        for geom in body.geoms:
            _touch(geom, body.name)
    for joint in spec.joints:
        _servo(spec, joint, gripper_width)
    coupling = spec.add_equality(
        name="fingers",
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=_FINGERS[1],
        name2=_FINGERS[0],
    )
    coupling.data[:5] = [0, 1, 0, 0, 0]
    coupling.solref[:2], coupling.solimp[:3] = [2 * TIMESTEP, 1], [0.99, 0.999, 0.001]
    return spec


def _touch(geom: Any, body: str) -> None:
    finger = "finger" in body
    bits = ROBOT if finger or body == "panda_hand" else NOTHING
    geom.contype, geom.conaffinity = bits["contype"], bits["conaffinity"]
    geom.rgba = [0.25, 0.25, 0.27, 1] if finger else [0.9, 0.9, 0.92, 1]
    if finger:
        geom.friction, geom.condim, geom.priority = _FINGER_FRICTION, 4, 1


def _servo(spec: Any, joint: Any, gripper_width: float) -> None:
    finger = joint.name in _FINGERS
    kp, kd = (_GRIP_STIFFNESS, _GRIP_DAMPING) if finger else (_STIFFNESS, _DAMPING)
    joint.armature = 0.3 if finger else 0.01
    joint.damping = [0.3, 0, 0] if finger else [0, 0, 0]
    joint.solref_limit[:2], joint.solimp_limit[:3] = [2 * TIMESTEP, 1], [0.99, 0.999, 0.001]
    actuator = spec.add_actuator(
        name=joint.name,
        target=joint.name,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
    )
    actuator.gainprm[0], actuator.biasprm[:3] = kp, [0, -kp, -kd]
    force = _GRIP_FORCE if finger else float(joint.actfrcrange[1])
    actuator.forcelimited, actuator.forcerange = True, [-force, force]
    if finger:
        joint.range = [0, gripper_width / 2]


def _part(spec: Any, part: Part) -> None:
    position, quat = from_tag(np.array(part.position), np.array(part.orientation, float))
    body = spec.worldbody.add_body(name=part.name, pos=position, quat=quat)
    body.add_joint(name=part.name, type=mujoco.mjtJoint.mjJNT_FREE)
    _weigh(body, part)
    spec.add_mesh(name=part.name, file=str(part_mesh(part.mesh)))
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=part.name,
        mass=0,
        rgba=[*part.color, 1],
        group=2,
        **NOTHING,
    )
    part.shape(body)


def _weigh(body: Any, part: Part) -> None:
    """Mass and inertia of the mesh; MuJoCo's own come out a quarter too small for these meshes."""
    mesh = trimesh.load_mesh(part_mesh(part.mesh))
    assert isinstance(mesh, trimesh.Trimesh)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    mesh.density = part.density
    inertia = mesh.moment_inertia
    body.mass, body.ipos, body.explicitinertial = float(mesh.mass), mesh.center_mass, True
    body.fullinertia = [*np.diag(inertia), inertia[0, 1], inertia[0, 2], inertia[1, 2]]


def _hold(spec: Any, part: Part) -> None:
    body = spec.body(part.name)
    spec.worldbody.add_body(name="anchor", pos=body.pos, quat=body.quat, mocap=True)
    weld = spec.add_equality(
        name="hold",
        type=mujoco.mjtEq.mjEQ_WELD,
        objtype=mujoco.mjtObj.mjOBJ_BODY,
        name1="anchor",
        name2=part.name,
        active=False,
    )
    weld.data[:] = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]


def from_tag(
    position: Float[np.ndarray, "3"], rotation: Float[np.ndarray, "3 3"]
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "4"]]:
    """A pose in the frame of the tag as position and quaternion (w, x, y, z) in the world."""
    quat = np.zeros(4)
    mujoco.mju_mat2Quat(quat, (TAG_ROTATION @ rotation).flatten())
    return TAG + TAG_ROTATION @ position, quat
