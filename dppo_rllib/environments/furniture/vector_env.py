"""The Furniture-Bench tasks as Gymnasium environments, many at once or one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from dppo_rllib.environments.arrays import Array
from dppo_rllib.environments.cameras import Cameras
from dppo_rllib.environments.furniture import NORMALIZED_BOUND
from dppo_rllib.environments.furniture.control import finger_targets, joint_targets
from dppo_rllib.environments.furniture.rules import assembled, observations, start_quaternions
from dppo_rllib.environments.furniture.scene import (
    BASE,
    CONTROL_HZ,
    HAND,
    HAND_BASE,
    OBSTACLE_TURN,
    PHYSICS_STEPS,
    scene,
)
from dppo_rllib.environments.furniture.simulators import MUJOCO, Simulator, make_simulator
from dppo_rllib.environments.furniture.starts import RANDOMNESS, draw
from dppo_rllib.environments.kinematics import Arm, Hand
from dppo_rllib.environments.resetting import reseed, rows_to_reset

_RENDER_SIZE = (240, 320)
_RENDER_CAMERA = "front"
_VISUAL_GROUPS = (0, 2)
# A held part is let go when the hand is so near along each axis (m), or at half-time.
_TOUCH = 0.03
_MAX_DRAWS = 10

Rows = Int[np.ndarray, " n"]


class FurnitureVectorEnv(VectorEnv):
    """`N` copies of a task, as the reinforcement learning environment of Furniture-Bench's fork.

    An observation is the robot's state (16) and the poses of all parts and of the obstacle (7
    each): see `rules.observations`. An action is where the hand shall be (3, m, in the robot's
    frame), how it shall be turned (6, the first two rows of the rotation) and the gripper (below 0
    opens), ten times a second. The reward is 1 in a step that joins two parts for the first time.
    An episode terminates by time alone, as the authors have it: nothing can be gained after it, so
    the time limit counts as termination, not as truncation.

    A copy whose episode has ended stands still until `reset(options={"reset_mask": …})` begins
    another (`AutoresetMode.DISABLED`). One that becomes unstable (numbers that are not finite,
    parts that are flung or far inside one another) is cut in this step, and `infos["invalid"]`
    says so. A start that is unstable is drawn anew, and not counted.

    Args:
        assembly: "one_leg", "lamp" or "round_table".
        randomness: Of the starts, "low" or "med".
        num_envs: `N`.
        max_episode_steps: The time limit; by default the benchmark's.
        num_threads: That step the physics of "mujoco".
        simulator: "mujoco", or "mujoco_warp": all copies at once, on a GPU if there is one.
        render_mode: "rgb_array" for `render`, or None.

    Raises:
        ImportError: The meshes of furniture-bench are not there, or mujoco_warp is not.
        ValueError: An argument is out of range.
        UserError: Pictures are asked for that cannot be drawn here.

    Attributes:
        as_tensors: Return observations as tensors on the simulator's device rather than as arrays;
            actions may be either.
    """

    def __init__(
        self,
        assembly: str,
        randomness: str = "low",
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        num_threads: int = 1,
        simulator: str = MUJOCO,
        render_mode: str | None = None,
    ):
        self.closed = True  # there is nothing to close yet
        if randomness not in RANDOMNESS:
            raise ValueError(f"randomness={randomness!r}: expected one of {sorted(RANDOMNESS)}")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r}: expected 'rgb_array' or None")
        made = scene(assembly)
        self.assembly = made.assembly
        self._limit = max_episode_steps or self.assembly.max_episode_steps
        for name, value in (
            ("num_envs", num_envs),
            ("num_threads", num_threads),
            ("max_episode_steps", self._limit),
        ):
            if value < 1:
                raise ValueError(f"{name}={value}: expected at least 1")
        self.num_envs, self.render_mode = num_envs, render_mode
        self.simulation: Simulator = make_simulator(simulator, made, num_envs, num_threads)
        self._arm = Arm(
            made.model,
            HAND,
            HAND_BASE,
            device=self.simulation.device,
            dtype=self.simulation.dtype,
        )
        self._randomness = RANDOMNESS[randomness]
        self._starts = start_quaternions(self.assembly).to(self.device, self.simulation.dtype)
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": CONTROL_HZ,
            "autoreset_mode": AutoresetMode.DISABLED,
            "normalized_bound": NORMALIZED_BOUND,
        }
        self._film = (
            Cameras(made.model, (_RENDER_CAMERA,), _RENDER_SIZE, _VISUAL_GROUPS)
            if render_mode
            else None
        )
        width = self.assembly.obs_dim
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-1, 1, (10,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._steps = np.zeros(num_envs, np.int64)
        self._ended, self._held = np.ones((2, num_envs), bool)
        self.joined = np.zeros((num_envs, len(self.assembly.joints)), bool)
        self._grasp = self.simulation.positions.new_full((num_envs,), -1.0)
        self._shown = torch.zeros(num_envs, width, device=self.device)
        self.as_tensors = False
        self.closed = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Float32[Array, "N Do"], dict[str, Any]]:
        """Begins episodes: all, or where `options["reset_mask"]` (`[N]`, bool) says so.

        Args:
            seed: Copy `i` gets `seed + i`, or the `i`-th of a list; its episodes follow from it.
            options: See above.

        Raises:
            RuntimeError: A copy is unstable however it begins.
        """
        reseed(self._generators, seed)
        rows = rows_to_reset(options, self.num_envs)
        self._begin(rows)
        self._steps[rows], self._ended[rows], self.joined[rows] = 0, False, False
        self._held[rows], self._grasp[rows] = self.assembly.held_part is not None, -1.0
        self._look(rows)
        return self._observed(), {}

    def step(
        self, actions: Float[Array, "N 10"]
    ) -> tuple[
        Float32[Array, "N Do"],
        Float32[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        dict[str, Any],
    ]:
        """One step of 1/10 s in the copies whose episode goes on.

        Returns:
            Observations, rewards, terminated, truncated, and in the infos `success` (all parts are
            joined), `joined` (how many pairs) and `invalid`, `[N]` each.
        """
        running = np.flatnonzero(~self._ended)
        self._let_go(running)
        sim = self.simulation
        wanted = torch.as_tensor(actions, dtype=sim.dtype, device=sim.device)
        unstable = sim.step(running, self._controls(wanted.clamp(-1, 1)), PHYSICS_STEPS)
        rows = running[~unstable[running]]
        new = np.zeros(self.joined.shape, bool)
        fits = assembled(self.assembly, self.poses()).cpu().numpy()
        new[rows] = fits[rows] & ~self.joined[rows]
        self.joined |= new
        self._look(rows)
        self._steps[running] += 1
        over: Bool[np.ndarray, " N"] = ~self._ended & ~unstable & (self._steps >= self._limit)
        self._ended |= over | unstable
        infos = {
            "success": self.joined.all(axis=-1) & ~unstable,
            "joined": self.joined.sum(axis=-1),
            "invalid": unstable,
        }
        rewards: Float32[np.ndarray, " N"] = np.asarray(new.any(axis=-1), np.float32)
        return self._observed(), rewards, over, unstable, infos

    @property
    def device(self) -> torch.device:
        """Where the simulator has its tensors."""
        return self.simulation.device

    def hand(self) -> Hand:
        """Where the hands are."""
        return self._arm.hand(self.simulation.positions[:, :7])

    def poses(self) -> Float[Tensor, "N things 7"]:
        """Of all parts and, last, of the obstacle: position in the world, quaternion (wxyz)."""
        at = np.array(self.simulation.scene.parts)[:, None] + np.arange(7)
        obstacle = self.simulation.obstacles.new_zeros(self.num_envs, 1, 7)
        obstacle[:, 0, :3] = self.simulation.obstacles
        obstacle[:, 0, 3:] = obstacle.new_tensor(OBSTACLE_TURN)
        return torch.cat([self.simulation.positions[:, at], obstacle], dim=1)

    def _begin(self, rows: Rows) -> None:
        """A start that is unstable is drawn anew."""
        for _ in range(_MAX_DRAWS):
            starts = [draw(self.assembly, self._randomness, self._generators[row]) for row in rows]
            rows = np.flatnonzero(self.simulation.start(rows, starts))
            if not len(rows):
                return
        raise RuntimeError(
            f"{self.assembly.name}: copies {rows.tolist()} were unstable from the start, "
            f"{_MAX_DRAWS} times in a row"
        )

    def _controls(self, wanted: Float[Tensor, "N 10"]) -> Float[Tensor, "N 9"]:
        arm = joint_targets(self.simulation.positions[:, :7], self.hand(), wanted)
        fingers = finger_targets(wanted[:, 9], self._grasp, self.assembly.gripper_width)
        self._grasp = wanted[:, 9]
        return torch.cat([arm, fingers], dim=-1)

    def _let_go(self, running: Rows) -> None:
        """Of what is held where the hand has come near or half of the benchmark's time is over."""
        sim = self.simulation
        if sim.scene.held is None:
            return
        bulb = sim.positions[:, sim.scene.held : sim.scene.held + 3]
        away = bulb - bulb.new_tensor(BASE) - self.hand().position
        near = (away.abs() < _TOUCH).all(dim=-1)
        late = self._steps > self.assembly.max_episode_steps / 2
        rows = running[(self._held & (near.cpu().numpy() | late))[running]]
        sim.release(rows)
        self._held[rows] = False

    def _look(self, rows: Rows) -> None:
        if not len(rows):
            return
        sim, hand = self.simulation, self.hand()
        arm, fingers = sim.velocities[:, :7], sim.positions[:, 7:9]
        seen = observations(hand, arm, fingers, self.poses(), self._starts)
        self._shown[rows] = seen[rows].float()

    def _observed(self) -> Float32[Array, "N Do"]:
        shown = self._shown.clone()
        return shown if self.as_tensors else shown.cpu().numpy()

    def render(self) -> tuple[Any, ...]:
        """A picture of every copy, `[240, 320, 3]`.

        Raises:
            ValueError: They were not made with `render_mode="rgb_array"`.
        """
        return tuple(self.picture(row) for row in range(self.num_envs))

    def picture(self, row: int) -> np.ndarray:
        """A picture of one copy, as `render`."""
        if self._film is None:
            raise ValueError(f"render_mode={self.render_mode!r}: expected 'rgb_array'")
        return self._film.draw(self.simulation.data(row))

    def close_extras(self, **kwargs: Any) -> None:
        """Frees threads and the OpenGL context."""
        self.simulation.close()
        if self._film is not None:
            self._film.close()
