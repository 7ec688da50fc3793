"""Many of Gymnasium's locomotion environments, stepped together."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.mujoco import MujocoEnv
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float

from dppo_rllib.environments.locomotion.rules import Rules
from dppo_rllib.environments.locomotion.simulation import Simulation
from dppo_rllib.environments.resetting import rows_to_reset, seeds_of

Results = tuple[
    Float[np.ndarray, "N Do"],
    Float[np.ndarray, " N"],
    Bool[np.ndarray, " N"],
    Bool[np.ndarray, " N"],
    dict[str, Any],
]


class LocomotionVectorEnv(VectorEnv):
    """`N` copies of Gymnasium's Hopper, Walker2d or HalfCheetah, equal to theirs to the bit.

    A copy whose episode has ended stands still until `reset(options={"reset_mask": …})` begins
    another (`AutoresetMode.DISABLED`). Where MuJoCo warns that its simulation is unstable, the
    episode is cut before that step, and `infos["invalid"]` says so; Gymnasium's would go on from
    MuJoCo's default state.

    Args:
        spec: Gymnasium's, with an entry point of `ROBOTS`.
        num_envs: `N`.
        max_episode_steps: Cuts episodes; None does not.
        num_threads: That step the physics.
        render_mode: "rgb_array" for `render`, or None.
        kwargs: Of Gymnasium's environment.

    Raises:
        ValueError: An argument is out of range.
    """

    def __init__(
        self,
        spec: EnvSpec,
        num_envs: int = 1,
        *,
        max_episode_steps: int | None = None,
        num_threads: int = 1,
        render_mode: str | None = None,
        **kwargs: Any,
    ):
        self.closed = True  # there is nothing to close yet
        limit = sys.maxsize if max_episode_steps is None else max_episode_steps
        for name, value in (
            *(("num_envs", num_envs), ("num_threads", num_threads)),
            ("max_episode_steps", limit),
        ):
            if value < 1:
                raise ValueError(f"{name}={value}: expected at least 1")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r}: expected 'rgb_array' or None")
        self.num_envs, self.render_mode, self._limit = num_envs, render_mode, limit
        self._rules = Rules.of(spec, {**spec.kwargs, **kwargs})
        self.envs = [_make(spec, **kwargs) for _ in range(num_envs)]
        self._film = _make(spec, render_mode=render_mode, **kwargs) if render_mode else None
        first = self.envs[0]
        self._dt = first.dt
        self._simulation = Simulation(
            first.model, [env.data for env in self.envs], first.frame_skip, num_threads
        )
        self.metadata = {**first.metadata, "autoreset_mode": AutoresetMode.DISABLED}
        self.single_observation_space = first.observation_space
        self.single_action_space = first.action_space
        self.observation_space = batch_space(first.observation_space, num_envs)
        self.action_space = batch_space(first.action_space, num_envs)
        self._steps = np.zeros(num_envs, np.int64)
        self._ended = np.ones(num_envs, bool)
        # States that the last chunk has led through, its start included, and where copies are.
        self._positions = np.zeros((num_envs, 1, first.model.nq))
        self._velocities = np.zeros((num_envs, 1, first.model.nv))
        self._now = np.zeros(num_envs, np.int64)
        self.closed = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Float[np.ndarray, "N Do"], dict[str, Any]]:
        """Begins episodes: all, or where `options["reset_mask"]` (`[N]`, bool) says so.

        Args:
            seed: Copy `i` gets `seed + i`, or the `i`-th of a list, as in Gymnasium.
            options: See above.
        """
        seeds = seeds_of(seed, self.num_envs)
        rows = rows_to_reset(options, self.num_envs)
        for row in rows:
            env = self.envs[row]
            env.reset(seed=seeds[row])
            place = row, self._now[row]
            self._positions[place], self._velocities[place] = env.data.qpos, env.data.qvel
        self._simulation.begin(rows)
        self._steps[rows], self._ended[rows] = 0, False
        return self._rules.observations(*self._states()), {}

    def step(self, actions: Float[np.ndarray, "N Da"]) -> Results:
        """One step in the copies whose episode goes on.

        Returns:
            Observations, rewards, terminated, truncated, and in the infos `invalid` `[N]`.
        """
        return next(self.step_chunk(actions[:, None]))

    def step_chunk(self, chunks: Float[np.ndarray, "N Ta Da"]) -> Iterator[Results]:
        """What `step` would return for each action; the physics of all are simulated at once.

        What is simulated beyond the end of an episode is thrown away.
        """
        before = self._states()
        positions, velocities = self._simulation.step(np.flatnonzero(~self._ended), chunks)
        sound = np.isfinite(positions).all(axis=-1) & np.isfinite(velocities).all(axis=-1)
        self._positions = np.concatenate([before[0][:, None], positions], axis=1)
        self._velocities = np.concatenate([before[1][:, None], velocities], axis=1)
        healthy = self._rules.healthy(positions, velocities)
        speeds = np.diff(self._positions[..., 0], axis=1) / self._dt
        rewards = self._rules.rewards(speeds, chunks, healthy)
        fallen = ~healthy & self._rules.terminate_when_unhealthy
        cut = self._steps[:, None] + np.arange(1, chunks.shape[1] + 1) >= self._limit
        ended = np.concatenate([self._ended[:, None], fallen | cut | ~sound], axis=1)
        ended = np.logical_or.accumulate(ended, axis=1)
        executed, invalid = ~ended[:, :-1] & sound, ~ended[:, :-1] & ~sound
        counts = np.cumsum(executed, axis=1)
        self._steps += counts[:, -1]
        self._ended = ended[:, -1]
        shown = self._rules.observations(self._positions, self._velocities)
        shown = np.take_along_axis(shown, counts[..., None], axis=1)
        rewards, terminated = np.where(executed, rewards, 0.0), executed & fallen
        truncated = executed & cut
        for step in range(chunks.shape[1]):
            self._now = counts[:, step]
            yield (
                *(shown[:, step], rewards[:, step], terminated[:, step], truncated[:, step]),
                {"invalid": invalid[:, step]},
            )

    def render(self) -> tuple[Any, ...]:
        """A picture of every copy, `[480, 480, 3]`.

        Raises:
            ValueError: They were not made with `render_mode="rgb_array"`.
        """
        return tuple(self.picture(row) for row in range(self.num_envs))

    def picture(self, row: int) -> Any:
        """A picture of one copy, as `render`."""
        if self._film is None:
            raise ValueError(f"render_mode={self.render_mode!r}: expected 'rgb_array'")
        positions, velocities = self._states()
        self._film.set_state(positions[row], velocities[row])
        return self._film.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Frees threads and what Gymnasium's environments hold."""
        self._simulation.close()
        for env in self.envs if self._film is None else (*self.envs, self._film):
            env.close()

    def _states(self) -> tuple[Float[np.ndarray, "N nq"], Float[np.ndarray, "N nv"]]:
        """Positions and velocities that copies are in."""
        every = np.arange(self.num_envs)
        return self._positions[every, self._now], self._velocities[every, self._now]


def _make(spec: EnvSpec, **kwargs: Any) -> MujocoEnv:
    """Gymnasium's environment itself, without a limit of steps and other wrappers."""
    env = gymnasium.make(spec, max_episode_steps=-1, **kwargs).unwrapped
    assert isinstance(env, MujocoEnv)
    return env
