"""The scenes of the Robomimic tasks, built by robosuite: models, robots in them, how they start."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float, Int

from dppo_rllib.environments.robomimic import REQUIRES
from dppo_rllib.requirements import require

# Of what is random about a model itself: the size of Lift's cube, 40 to 44 mm.
_MODEL_SEED = 0
_ARENA_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Arms:
    """Where a scene's arms are in its model; a row each.

    Attributes:
        joints: Joint, position, velocity and actuator of every joint.
        mass_entries: Where in `qM` their mass matrix is.
        limits: Least and largest torques.
        hands: The site that a command moves.
        grippers: Actuators of the fingers.
        gripper_limits: Their least and largest controls.
        fingers: Positions of the fingers.
        wrists: The body whose orientation policies see.
    """

    joints: Int[np.ndarray, "arms 4 7"]
    mass_entries: Int[np.ndarray, "arms 7 7"]
    limits: Float[np.ndarray, "arms 7 2"]
    hands: Int[np.ndarray, " arms"]
    grippers: Int[np.ndarray, "arms 2"]
    gripper_limits: Float[np.ndarray, "arms 2 2"]
    fingers: Int[np.ndarray, "arms 2"]
    wrists: Int[np.ndarray, " arms"]


class Scene:
    """robosuite's environment, of which only the model and the random starts are used.

    Args:
        name: robosuite's name of the task.
        robots: How many Panda arms.

    Attributes:
        model: MuJoCo's.
        arms: The robots in it.
        physics_steps: In a control step, 1/20 s.

    Raises:
        ImportError: robosuite is not there, or is of another version.
    """

    def __init__(self, name: str, robots: int):
        suite = _robosuite()
        controller = suite.load_part_controller_config(default_controller="OSC_POSE")
        # Commands are along the axes of the world, as with robosuite 1.4, of the demonstrations.
        controller |= {"input_ref_frame": "world", "gripper": {"type": "GRIP"}}
        with _quiet():
            self.env = _with_small_arena(suite.environments.base.REGISTERED_ENVS[name])(
                robots=["Panda"] * robots,
                controller_configs={"type": "BASIC", "body_parts": {"right": controller}},
                has_renderer=False,
                has_offscreen_renderer=False,
                use_camera_obs=False,
                control_freq=20,
                ignore_done=True,
                # Only placements vary: a model for each episode takes seconds, and memory.
                hard_reset=False,
                seed=_MODEL_SEED,
            )
        self.model = self.env.sim.model._model
        self.arms = _find_arms(self.env)
        sampler = self.env.placement_initializer
        parts = (self.env, sampler, *getattr(sampler, "samplers", {}).values())
        # Some objects turn themselves: Transport's hammer.
        self._random_parts = [
            p for p in (*parts, *self.env.model.mujoco_objects) if hasattr(p, "rng")
        ]
        self.physics_steps = round(self.env.control_timestep / self.env.model_timestep)

    def start(self, generator: np.random.Generator) -> Any:
        """Begins an episode.

        Args:
            generator: Draws the placements and the noise of the joints.

        Returns:
            The `mujoco.MjData` of it, which the next call overwrites.
        """
        for part in self._random_parts:
            part.rng = generator
        self.env.reset()
        return self.env.sim.data._data


def _with_small_arena(kind: type[Any]) -> type[Any]:
    """A kind of robosuite environment whose states reserve `_ARENA_BYTES` for contacts.

    robosuite asks for room for 5,000: 1.3 GB in each state. Not touched, that costs nothing, until
    the operating system refuses to start a process because of it.
    """

    class WithSmallArena(kind):
        def edit_model_xml(self, xml_str: str) -> str:
            root = ElementTree.fromstring(super().edit_model_xml(xml_str))
            for size in root.findall("size"):
                root.remove(size)
            ElementTree.SubElement(root, "size", memory=str(_ARENA_BYTES))
            return ElementTree.tostring(root, encoding="unicode")

    return WithSmallArena


def _find_arms(env: Any) -> Arms:
    model, arms = env.sim.model._model, []
    for robot in env.robots:
        joints = np.array(robot._ref_joint_indexes)
        dofs = model.jnt_dofadr[joints]
        actuators = np.array(robot._ref_arm_joint_actuator_indexes)
        grippers = np.array(robot._ref_joint_gripper_actuator_indexes["right"])
        arms.append(
            (
                np.array([joints, model.jnt_qposadr[joints], dofs, actuators]),
                _mass_entries(model, dofs),
                model.actuator_ctrlrange[actuators],
                robot.eef_site_id["right"],
                grippers,
                model.actuator_ctrlrange[grippers],
                np.array(robot._ref_gripper_joint_pos_indexes["right"]),
                model.body(robot.robot_model.eef_name["right"]).id,
            )
        )
    return Arms(*(np.array(column) for column in zip(*arms, strict=True)))


def _mass_entries(model: Any, dofs: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n n"]:
    """Of `qM` a row of the mass matrix holds a dof and its ancestors, upwards."""
    entries = np.zeros((len(dofs), len(dofs)), np.int64)
    place = {int(dof): i for i, dof in enumerate(dofs)}
    for i, dof in enumerate(dofs):
        ancestor, address = int(dof), int(model.dof_Madr[dof])
        while ancestor >= 0:
            if ancestor in place:
                entries[i, place[ancestor]] = entries[place[ancestor], i] = address
            ancestor, address = int(model.dof_parentid[ancestor]), address + 1
    return entries


def _robosuite() -> Any:
    """robosuite, imported without what it does besides.

    It logs at length, and chooses an OpenGL library for the whole process.
    """
    require(REQUIRES)
    chosen = os.environ.get("MUJOCO_GL")
    try:
        with _quiet():
            import robosuite
    except ImportError as error:
        commands = " && ".join(requirement.command for requirement in REQUIRES)
        raise ImportError(f"robosuite cannot be imported ({error}); {commands}") from error
    finally:
        if chosen is None:
            os.environ.pop("MUJOCO_GL", None)
    return robosuite


@contextmanager
def _quiet() -> Iterator[None]:
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
