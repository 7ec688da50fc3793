"""Franka Kitchen as Gymnasium environments, many at once or one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Float32

from dppo_rllib.environments.kitchen.scene import (
    Kitchens,
    Rows,
    noise_amplitudes,
    position_limits,
)
from dppo_rllib.environments.kitchen.subtasks import (
    DEFAULT_SUBTASKS,
    NUM_ARM,
    NUM_POSITIONS,
    Subtasks,
)
from dppo_rllib.environments.physics import mujoco
from dppo_rllib.environments.resetting import reseed, rows_to_reset

MAX_SPEED = 2.0  # of a joint, that an action of 1 asks for
_RENDER_SIZE = (360, 480)


class KitchenVectorEnv(VectorEnv):
    """`N` copies of a kitchen, with the observations and rewards of D4RL.

    - Observation, `[60]`: positions of the arm's 9 joints, of the 21 of what it can move, and the
      30 that are asked for. Uniform noise disturbs the first 30, as it does the benchmark's.
    - Action, `[9]`: speeds of the arm's joints in [-1, 1], of which 1 is 2 rad/s (of the fingers
      2 m/s). 12.5 of them a second. As in D4RL they count from where joints are seen to be.
    - Reward: 1 for each subtask that is done for the first time. The episode ends, terminated,
      with the last one.
    - `infos`, `[N]` each: `success`, all are done; `subtasks_done`, how many; and `invalid`, see
      below.

    A copy whose episode has ended stands still until `reset(options={"reset_mask": …})` begins
    another (`AutoresetMode.DISABLED`). Where MuJoCo diverges, the episode is cut before the step
    in which it did, and `infos["invalid"]` says so.

    Args:
        num_envs: `N`.
        subtasks: Names of `subtasks.GOALS`.
        noise_ratio: Multiplies the noise of observations; 0.1 is the benchmark's, 0 shows
            positions as they are.
        max_episode_steps: Cuts episodes; None does not (the registered id brings a limit).
        num_threads: That step the physics.
        render_mode: "rgb_array" for `render`, or None.

    Raises:
        ImportError: gymnasium-robotics is not installed.
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        subtasks: Sequence[str] = DEFAULT_SUBTASKS,
        noise_ratio: float = 0.1,
        max_episode_steps: int | None = None,
        num_threads: int = 1,
        render_mode: str | None = None,
    ):
        self.closed = True  # there is nothing to close yet
        _check(num_envs, noise_ratio, max_episode_steps, num_threads, render_mode)
        self.subtasks = Subtasks(subtasks)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.kitchens = Kitchens(num_envs, num_threads)
        self._noise = noise_ratio * noise_amplitudes()
        self._limits = position_limits()
        self._limit = sys.maxsize if max_episode_steps is None else max_episode_steps
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": 1 / self.kitchens.seconds,
            "autoreset_mode": AutoresetMode.DISABLED,
        }
        self._film: _Film | None = None
        width = 2 * NUM_POSITIONS
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-1, 1, (NUM_ARM,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, bool)
        self._seen = np.zeros((num_envs, NUM_POSITIONS))
        self._done = np.zeros((num_envs, len(self.subtasks)), bool)
        self.closed = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Float32[np.ndarray, "N 60"], dict[str, Any]]:
        """Begins episodes: all, or where `options["reset_mask"]` (`[N]`, bool) says so.

        Args:
            seed: Copy `i` gets `seed + i`, or the `i`-th of a list; its episodes follow from it.
            options: See above.
        """
        reseed(self._generators, seed)
        rows = rows_to_reset(options, self.num_envs)
        self.kitchens.start(rows)
        self._look(rows)
        self._steps[rows], self._ended[rows], self._done[rows] = 0, False, False
        return self._observations(), {}

    def step(
        self, actions: Float[np.ndarray, "N 9"]
    ) -> tuple[
        Float32[np.ndarray, "N 60"],
        Float32[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        dict[str, Any],
    ]:
        """One step of 0.08 s in the copies whose episode goes on.

        Returns:
            Observations, rewards, terminated, truncated, infos.
        """
        running = np.flatnonzero(~self._ended)
        speeds = MAX_SPEED * np.asarray(actions[running], float).clip(-1, 1)
        controls = self._seen[running, :NUM_ARM] + speeds * self.kitchens.seconds
        broken = self.kitchens.step(running, controls.clip(*self._limits.T))
        rows = running[~broken]
        self._look(rows)
        before = self._done.sum(axis=-1)
        self._done[rows] |= self.subtasks.done(self._seen[rows])
        counts = self._done.sum(axis=-1)
        self._steps[rows] += 1
        invalid = np.zeros(self.num_envs, bool)
        invalid[running[broken]] = True
        success = counts == len(self.subtasks)
        truncated = invalid | (~success & (self._steps >= self._limit))
        self._ended |= success | truncated
        infos = {"success": success, "subtasks_done": counts, "invalid": invalid}
        rewards = (counts - before).astype(np.float32)
        return self._observations(), rewards, success, truncated, infos

    def render(self) -> tuple[Any, ...]:
        """A picture of every copy, `[360, 480, 3]`.

        Raises:
            ValueError: They were not made with `render_mode="rgb_array"`.
        """
        return tuple(self.picture(row) for row in range(self.num_envs))

    def picture(self, row: int) -> np.ndarray:
        """A picture of one copy, as `render`."""
        if self.render_mode is None:
            raise ValueError("render_mode=None: expected 'rgb_array'")
        if self._film is None:
            self._film = _Film(self.kitchens.model)
        return self._film.draw(self.kitchens.datas[row])

    def close_extras(self, **kwargs: Any) -> None:
        """Frees threads and the OpenGL context."""
        self.kitchens.close()
        if self._film is not None:
            self._film.close()

    def _look(self, rows: Rows) -> None:
        """What is seen of some copies: positions, disturbed."""
        drawn = [self._generators[row].uniform(-1, 1, NUM_POSITIONS) for row in rows.tolist()]
        noise = self._noise * np.array(drawn).reshape(-1, NUM_POSITIONS)
        self._seen[rows] = self.kitchens.positions(rows) + noise

    def _observations(self) -> Float32[np.ndarray, "N 60"]:
        goals = np.broadcast_to(self.subtasks.goal, self._seen.shape)
        return np.concatenate([self._seen, goals], axis=-1).astype(np.float32)


class KitchenEnv(gymnasium.Env):
    """One copy of `KitchenVectorEnv`, whose arguments it takes."""

    def __init__(self, **kwargs: Any):
        self.copies = KitchenVectorEnv(1, **kwargs)
        self.metadata, self.render_mode = self.copies.metadata, self.copies.render_mode
        self.observation_space = self.copies.single_observation_space
        self.action_space = self.copies.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "60"], dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        return self.copies.reset(seed=[seed])[0][0], {}

    def step(
        self, action: Float[np.ndarray, "9"]
    ) -> tuple[Float32[np.ndarray, "60"], float, bool, bool, dict[str, Any]]:
        """One step of 0.08 s.

        Raises:
            FloatingPointError: MuJoCo has diverged.
        """
        obs, rewards, terminated, truncated, infos = self.copies.step(action[None])
        if infos["invalid"][0]:
            raise FloatingPointError("kitchen: the simulation has diverged")
        info = {"success": bool(infos["success"][0]), "subtasks_done": infos["subtasks_done"][0]}
        return obs[0], float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> Any:
        """A picture, `[360, 480, 3]`."""
        return self.copies.picture(0)

    def close(self) -> None:
        """Frees what the copy holds."""
        self.copies.close()


class _Film:
    """Draws kitchens, as gymnasium-robotics looks at them."""

    def __init__(self, model: Any):
        self._renderer = mujoco.Renderer(model, *_RENDER_SIZE)
        self._camera = mujoco.MjvCamera()
        self._camera.distance, self._camera.azimuth, self._camera.elevation = 2.2, 70.0, -35.0
        self._camera.lookat[:] = (-0.2, 0.5, 2.0)

    def draw(self, data: Any) -> np.ndarray:
        self._renderer.update_scene(data, self._camera)
        picture: np.ndarray = self._renderer.render()
        return picture

    def close(self) -> None:
        self._renderer.close()


def _check(
    num_envs: int,
    noise_ratio: float,
    max_episode_steps: int | None,
    num_threads: int,
    render_mode: str | None,
) -> None:
    limit = 1 if max_episode_steps is None else max_episode_steps
    counts = {"num_envs": num_envs, "max_episode_steps": limit, "num_threads": num_threads}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    if not 0 <= noise_ratio < np.inf:
        raise ValueError(f"noise_ratio={noise_ratio}: expected a number from 0")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode={render_mode!r}: expected 'rgb_array' or None")
