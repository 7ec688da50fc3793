"""The tasks of Furniture-Bench in IsaacGym as Gymnasium environments, all at once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Float32
from scipy.spatial.transform import Rotation

from dppo_rllib.environments.furniture import NORMALIZED_BOUND
from dppo_rllib.environments.furniture.isaac import sidecar
from dppo_rllib.environments.furniture.isaac.client import Arrays, IsaacClient
from dppo_rllib.environments.furniture.isaac.process import Order, Timeouts
from dppo_rllib.environments.resetting import seeds_of

_RANDOMNESS = ("low", "med")
_QUATERNION = slice(3, 7)
# Resets of the same copies, one after the other, that may leave them with NaN.
_MAX_RESETS = 3


class IsaacVectorEnv(VectorEnv):
    """`N` copies of a task in the fork's `FurnitureRLSimEnv`, which runs in a Python of its own.

    A state is of the robot its hand's position (3, in m, in axes of its base), the first two rows
    of its rotation matrix (6), linear (3) and angular velocity (3) and the gripper's width (1), and
    then position (3) and quaternion (x, y, z, w) of each part and of the obstacle, in axes of the
    AprilTag. Actions are where the hand is to be (3), the first two rows of its rotation matrix
    (6), and the gripper (1; below 0 opens, above closes), 10 times a second. The reward is 1 in the
    step in which parts are newly assembled.

    As the authors have it, only time ends an episode, and that counts as its termination, not as
    truncation: rewards do not add up beyond it. A copy whose episode has ended is shown as it was
    until `reset(options={"reset_mask": …})` begins another (`AutoresetMode.DISABLED`).

    Where a copy shows NaN or infinity its episode is cut before that step; where the simulator
    crashes or hangs those of all copies are, and it is started again. `infos["invalid"]` says so.

    Args:
        task: "one_leg", "lamp" or "round_table".
        randomness: "low" or "med".
        num_envs: `N`.
        max_episode_steps: Ends episodes (the registered ids bring the authors' limit).
        python: Path or name of the Python that has IsaacGym; None takes `DPPO_ISAACGYM_PYTHON`.
        environment: The class to simulate with, as `"module:Class"` or `"path/to/file.py:Class"`.
        start_timeout_s: The simulator hangs if it takes longer than this to start,
        answer_timeout_s: longer than this for a step or a reset,
        silence_timeout_s: or gives no sign of life for so long.
        render_mode: None: nothing is drawn.

    Raises:
        ImportError: There is no such Python, or what it needs is not installed.
        ValueError: An argument is out of range.
        SidecarError: The simulator does not start; in `reset` and `step`, has failed several times
            in a row.
    """

    def __init__(
        self,
        task: str,
        randomness: str,
        num_envs: int = 1,
        *,
        max_episode_steps: int,
        python: str | os.PathLike[str] | None = None,
        environment: str = sidecar.FURNITURE_ENV,
        start_timeout_s: float = Timeouts.start_s,
        answer_timeout_s: float = Timeouts.answer_s,
        silence_timeout_s: float = Timeouts.silence_s,
        render_mode: str | None = None,
    ):
        self.closed = True  # there is nothing to close yet
        _check_choice("task", task, sidecar.PARTS)
        _check_choice("randomness", randomness, _RANDOMNESS)
        _check_at_least_one(num_envs=num_envs, max_episode_steps=max_episode_steps)
        timeouts = Timeouts(start_timeout_s, answer_timeout_s, silence_timeout_s)
        _check_positive(
            start_timeout_s=start_timeout_s,
            answer_timeout_s=answer_timeout_s,
            silence_timeout_s=silence_timeout_s,
        )
        if render_mode is not None:
            raise ValueError(f"render_mode={render_mode!r}: expected None, nothing is drawn here")
        self.num_envs, self.render_mode = num_envs, None
        self.metadata = {
            "render_modes": [],
            "autoreset_mode": AutoresetMode.DISABLED,
            "normalized_bound": NORMALIZED_BOUND,
        }
        width = 14 + 2 + 7 * (sidecar.PARTS[task] + 1)
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-1, 1, (10,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._limit = max_episode_steps
        self._shown = np.zeros((num_envs, width), np.float32)
        self._steps = np.zeros(num_envs, np.int64)
        self._ended, self._cut = np.ones(num_envs, bool), np.zeros(num_envs, bool)
        # Going on, but the simulator has failed in a reset of others.
        self._lost = np.zeros(num_envs, bool)
        order = Order(task, randomness, num_envs, max_episode_steps, environment)
        self.client = IsaacClient(order, python, timeouts)
        self.closed = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Float32[np.ndarray, "N Do"], dict[str, Any]]:
        """Begins episodes: all, or where `options["reset_mask"]` (`[N]`, bool) says so.

        Args:
            seed: All copies draw from one generator of the simulator, which is seeded from `seed`,
                or from all of a list together; what PhysX adds on a GPU is left to chance.
            options: See above.

        Raises:
            FloatingPointError: Copies show NaN or infinity however often they are reset.
        """
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        seeds = _seeds(seed, self.num_envs)
        for _ in range(_MAX_RESETS):
            if mask.any():
                mask = self._begin(mask, seeds)
                seeds = None
        if mask.any():
            raise FloatingPointError(
                f"copies {np.flatnonzero(mask).tolist()}: not finite after {_MAX_RESETS} resets"
            )
        return self._shown.copy(), {}

    def _begin(self, mask: Bool[np.ndarray, " N"], seeds: list[int] | None) -> np.ndarray:
        """Begins episodes; returns where that did not succeed."""
        arrays, begun = self.client.reset(mask, seeds)
        self._lost |= begun & ~mask & ~self._ended
        sound = mask & _sound(arrays)
        self._shown[sound] = _states(arrays, sound)
        self._steps[sound], self._ended[sound] = 0, False
        self._cut[sound], self._lost[sound] = False, False
        return mask & ~sound

    def step(
        self, actions: Float[np.ndarray, "N 10"]
    ) -> tuple[
        Float32[np.ndarray, "N Do"],
        Float32[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        dict[str, Any],
    ]:
        """One step of 1/10 s in the copies whose episode goes on.

        Returns:
            Observations, rewards, terminated (by time), truncated (cut because the simulator
            failed), and in the infos `success`, all parts are assembled, and `invalid`, cut in this
            step, `[N]` each.
        """
        running = ~self._ended
        rewards, success = np.zeros(self.num_envs, np.float32), np.zeros(self.num_envs, bool)
        sound = np.zeros(self.num_envs, bool)
        arrays = self.client.step(actions) if running.any() else None
        if arrays is not None:
            sound = running & ~self._lost & _sound(arrays) & np.isfinite(arrays["rewards"])
            self._shown[sound] = _states(arrays, sound)
            rewards[sound], success[sound] = arrays["rewards"][sound], arrays["assembled"][sound]
        self._steps += sound
        invalid = running & ~sound
        self._cut |= invalid
        self._ended |= invalid | (self._steps >= self._limit)
        infos = {"success": success, "invalid": invalid}
        terminated, truncated = self._ended & ~self._cut, self._cut.copy()
        return self._shown.copy(), rewards, terminated, truncated, infos

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the simulator."""
        self.client.close()


def _sound(arrays: Arrays) -> Bool[np.ndarray, " N"]:
    """Whose observations are finite, with a quaternion that is a rotation."""
    finite = np.isfinite(arrays["robot_state"]).all(1) & np.isfinite(arrays["parts_poses"]).all(1)
    return np.asarray(finite & arrays["robot_state"][:, _QUATERNION].any(1))


def _states(arrays: Arrays, rows: Bool[np.ndarray, " N"]) -> Float32[np.ndarray, "n Do"]:
    """What policies see: the robot's quaternion becomes two rows of a matrix, in its place."""
    robot = arrays["robot_state"][rows]
    two_rows = np.zeros((len(robot), 6))
    if len(robot):
        matrices = Rotation.from_quat(robot[:, _QUATERNION]).as_matrix()
        two_rows = matrices[:, :2].reshape(-1, 6)
    parts = (robot[:, :3], two_rows, robot[:, 7:], arrays["parts_poses"][rows])
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _seeds(seed: int | Sequence[int | None] | None, num_envs: int) -> list[int] | None:
    """What seeds the one generator of all copies; None leaves it as it is."""
    return [own for own in seeds_of(seed, num_envs) if own is not None] or None


def _check_choice(name: str, value: str, choices: Any) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r}: expected one of {sorted(choices)}")


def _check_at_least_one(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: expected more than 0")
