"""The Robomimic tasks as Gymnasium environments, many at once or one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array
from jaxtyping import Bool, Float, Float32, UInt8

from dppo_rllib.environments.cameras import Cameras
from dppo_rllib.environments.observation_spaces import RGB, STATE
from dppo_rllib.environments.resetting import reseed, rows_to_reset
from dppo_rllib.environments.robomimic.manipulation import (
    MANIPULATIONS,
    Manipulation,
    proprioception,
)
from dppo_rllib.environments.robomimic.scene import Scene
from dppo_rllib.environments.robomimic.simulation import Rows, Simulation

_RENDER_SIZE = (256, 256)
_RENDER_CAMERA = "agentview"

Observations = dict[str, np.ndarray]


class RobomimicVectorEnv(VectorEnv):
    """`N` copies of a task, with robosuite's own states at several times its speed.

    A state has the robots' part (`Manipulation.proprioception_dim`) and the objects'; with
    `pixels`, observations are `{"state": …, "rgb": …}`: the robots' part alone and the pictures of
    all cameras, channels last. Actions are for each arm how far to move its hand (1 is 5 cm), by
    which axis times angle to turn it (1 is 0.5 rad), both in axes of the world, and its gripper
    (below 0 opens, above closes). The reward is 1 in each step after which the task is solved.

    Pictures are drawn in `step` unless `draw_in_step` is False; `draw` does it then.

    A copy whose episode has ended stands still until `reset(options={"reset_mask": …})` begins
    another (`AutoresetMode.DISABLED`). Where MuJoCo diverges, the episode is cut before the step
    in which it did, and `infos["invalid"]` says so.

    Args:
        task: "lift", "can", "square" or "transport".
        num_envs: `N`.
        pixels: Whether policies see pictures instead of the objects' states.
        image_size: Height and width of these.
        max_episode_steps: Cuts episodes; None does not (the registered ids bring a limit).
        num_threads: That step the physics.
        render_mode: "rgb_array" for `render`, or None.

    Raises:
        ImportError: robosuite is not there.
        ValueError: An argument is out of range.
        UserError: Pictures are asked for that cannot be drawn here.
    """

    def __init__(
        self,
        task: str,
        num_envs: int = 1,
        *,
        pixels: bool = False,
        image_size: int = 96,
        max_episode_steps: int | None = None,
        num_threads: int = 1,
        render_mode: str | None = None,
    ):
        self.closed = True  # there is nothing to close yet
        self.task = _task(task, render_mode)
        self._limit = sys.maxsize if max_episode_steps is None else max_episode_steps
        _check_positive(
            num_envs=num_envs,
            image_size=image_size,
            max_episode_steps=self._limit,
            num_threads=num_threads,
        )
        self.num_envs, self.render_mode = num_envs, render_mode
        self.simulation = Simulation(
            Scene(self.task.robosuite_name, self.task.robots), num_envs, num_threads
        )
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": 20,
            "autoreset_mode": AutoresetMode.DISABLED,
        }
        model = self.simulation.scene.model
        self._cameras = Cameras(model, self.task.cameras, (image_size,) * 2) if pixels else None
        self._film = Cameras(model, (_RENDER_CAMERA,), _RENDER_SIZE) if render_mode else None
        self.single_observation_space = self._observation_space(image_size)
        self.single_action_space = gymnasium.spaces.Box(-1, 1, (self.task.action_dim,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, bool)
        shown: Any = create_empty_array(self.single_observation_space, num_envs)
        self._shown: Observations = shown if isinstance(shown, dict) else {STATE: shown}
        self.draw_in_step = True
        self.closed = False

    def _observation_space(self, image_size: int) -> gymnasium.Space:
        width = self.task.proprioception_dim
        if self._cameras is None:
            width += self.task.object_dim
            return gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        shape = (image_size, image_size, 3 * len(self.task.cameras))
        return gymnasium.spaces.Dict(
            {
                STATE: gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32),
                RGB: gymnasium.spaces.Box(0, 255, shape, np.uint8),
            }
        )

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Begins episodes: all, or where `options["reset_mask"]` (`[N]`, bool) says so.

        Args:
            seed: Copy `i` gets `seed + i`, or the `i`-th of a list; its episodes follow from it.
            options: See above.
        """
        reseed(self._generators, seed)
        rows = rows_to_reset(options, self.num_envs)
        for row in rows:
            self.simulation.start(int(row), self._generators[row])
        self._steps[rows], self._ended[rows] = 0, False
        if len(rows):
            self._look(rows)
        return self._observations(), {}

    def step(
        self, actions: Float[np.ndarray, "N Da"]
    ) -> tuple[
        Any,
        Float32[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        dict[str, Any],
    ]:
        """One step of 1/20 s in the copies whose episode goes on.

        Returns:
            Observations, rewards, terminated (never: what is solved can be undone), truncated, and
            in the infos `success` and `invalid`, `[N]` each.
        """
        running = np.flatnonzero(~self._ended)
        diverged = self.simulation.step(running, actions)
        rows = running[~diverged[running]]
        solved = np.zeros(self.num_envs, bool)
        if len(rows):
            self._look(rows)
            solved[rows] = self.task.solved(self.simulation, rows)
        self._steps[rows] += 1
        self._ended |= diverged | (self._steps >= self._limit)
        infos = {"success": solved, "invalid": diverged}
        never = np.zeros(self.num_envs, bool)
        return self._observations(), solved.astype(np.float32), never, self._ended.copy(), infos

    def render(self) -> tuple[Any, ...]:
        """A picture of every copy, `[256, 256, 3]`.

        Raises:
            ValueError: They were not made with `render_mode="rgb_array"`.
        """
        return tuple(self.picture(row) for row in range(self.num_envs))

    def picture(self, row: int) -> np.ndarray:
        """A picture of one copy, as `render`."""
        if self._film is None:
            raise ValueError(f"render_mode={self.render_mode!r}: expected 'rgb_array'")
        return self._film.draw(self.simulation.datas[row])

    def close_extras(self, **kwargs: Any) -> None:
        """Frees threads and OpenGL contexts."""
        self.simulation.close()
        for cameras in (self._cameras, self._film):
            if cameras is not None:
                cameras.close()

    def draw(self, rows: Rows) -> UInt8[np.ndarray, "n H W C"]:
        """What the policy's cameras see of some copies.

        Raises:
            ValueError: They were not made with `pixels=True`.
        """
        if self._cameras is None:
            raise ValueError("pixels=False: expected True for pictures")
        drawn = [self._cameras.draw(self.simulation.datas[row]) for row in rows]
        return np.array(drawn, np.uint8).reshape(-1, *self._shown[RGB].shape[1:])

    def _look(self, rows: Rows) -> None:
        parts = [proprioception(self.simulation, rows)]
        if self._cameras is None:
            parts.append(self.task.objects(self.simulation, rows))
        elif self.draw_in_step:
            self._shown[RGB][rows] = self.draw(rows)
        self._shown[STATE][rows] = np.concatenate(parts, axis=-1)

    def _observations(self) -> Any:
        copies = {key: value.copy() for key, value in self._shown.items()}
        return copies if self._cameras is not None else copies[STATE]


class RobomimicEnv(gymnasium.Env):
    """One copy of `RobomimicVectorEnv`, whose arguments it takes."""

    def __init__(self, task: str, **kwargs: Any):
        self.copies = RobomimicVectorEnv(task, 1, **kwargs)
        self.metadata, self.render_mode = self.copies.metadata, self.copies.render_mode
        self.observation_space = self.copies.single_observation_space
        self.action_space = self.copies.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        return _first(self.copies.reset(seed=[seed])[0]), {}

    def step(
        self, action: Float[np.ndarray, " Da"]
    ) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of 1/20 s.

        Raises:
            FloatingPointError: MuJoCo has diverged.
        """
        obs, reward, _, truncated, infos = self.copies.step(action[None])
        if infos["invalid"][0]:
            raise FloatingPointError(f"{self.copies.task.name}: the simulation has diverged")
        success = bool(infos["success"][0])
        return _first(obs), float(reward[0]), False, bool(truncated[0]), {"success": success}

    def render(self) -> Any:
        """A picture, `[256, 256, 3]`."""
        return self.copies.picture(0)

    def close(self) -> None:
        """Frees what the copy holds."""
        self.copies.close()


def _task(name: str, render_mode: str | None) -> Manipulation:
    if name not in MANIPULATIONS:
        raise ValueError(f"task={name!r}: expected one of {sorted(MANIPULATIONS)}")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode={render_mode!r}: expected 'rgb_array' or None")
    return MANIPULATIONS[name]


def _check_positive(**values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")


def _first(obs: Any) -> Any:
    return {key: value[0] for key, value in obs.items()} if isinstance(obs, dict) else obs[0]
