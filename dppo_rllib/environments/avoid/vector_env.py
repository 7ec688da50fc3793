"""Avoid as Gymnasium environments, many at once or one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Complex, Float, Float32

from dppo_rllib.environments.avoid import MAX_EPISODE_STEPS, table
from dppo_rllib.environments.avoid.arm import STEP_SECONDS, Rods, Rows
from dppo_rllib.environments.avoid.picture import draw_table
from dppo_rllib.environments.resetting import reseed, rows_to_reset

if TYPE_CHECKING:  # the plane needs no MuJoCo
    from dppo_rllib.environments.avoid.panda import PandaRods

PLANAR, MUJOCO = "planar", "mujoco"
MAX_CHANGE = 0.01  # of where the rod shall be, in x and in y
_PENALTY = -0.1


class AvoidVectorEnv(VectorEnv):
    """`N` tables with a rod each, that shall pass the pillars and cross the finish line.

    - Observation, `[4]`: where the rod shall be and where it is, `(x, y)` each, in metres.
    - Action, `[2]`: by how much to change where it shall be, within ±0.01. One step is 35 ms.
    - Reward of a step: -0.1 for good once the rod has touched a pillar, and wherever it is left of
      0.2 or right of 0.8; else 1 beyond the finish line, and 1 more from where it took the way
      asked for. An episode ends by time alone, and as nothing can be gained after it, its time
      limit counts as termination.
    - `infos`, `[N]` each: `success`, the reward is the highest there is; `finished`, it is beyond
      the line and unpunished; and `ways [N, 3]`, see `table.note_ways`.

    A copy whose episode has ended stands still until `reset(options={"reset_mask": …})` begins
    another (`AutoresetMode.DISABLED`).

    Args:
        num_envs: `N`.
        way: Through the last row, 5 (left) to 8 (right); None asks for none.
        start_noise: Standard deviation of where rods start, in metres, cut at three of them. The
            benchmark's always start at the same place.
        max_episode_steps: The time limit; by default the benchmark's.
        simulator: "planar", see `arm`, or "mujoco": D3IL's whole arm, slower, see `panda`.
        render_mode: "rgb_array" for `render`, or None.

    Raises:
        ValueError: An argument is out of range.
        ImportError: The arm is asked for, and MuJoCo is not installed.
    """

    def __init__(
        self,
        num_envs: int = 1,
        *,
        way: int | None = 5,
        start_noise: float = 0.0,
        max_episode_steps: int | None = None,
        simulator: str = PLANAR,
        render_mode: str | None = None,
    ):
        _check(num_envs, way, start_noise, max_episode_steps, render_mode)
        self.num_envs, self.render_mode = num_envs, render_mode
        self.rods = _make_rods(simulator, num_envs)
        self._way, self._start_noise = way, start_noise
        self._limit = MAX_EPISODE_STEPS if max_episode_steps is None else max_episode_steps
        self.metadata = {
            "render_modes": ["rgb_array"],
            "render_fps": 1 / STEP_SECONDS,
            "autoreset_mode": AutoresetMode.DISABLED,
        }
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32)
        self.single_action_space = gymnasium.spaces.Box(-MAX_CHANGE, MAX_CHANGE, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._generators = [np.random.default_rng() for _ in range(num_envs)]
        self._steps = np.zeros(num_envs, np.int64)
        self._collided, self._ended = np.zeros(num_envs, bool), np.ones(num_envs, bool)
        self._ways = np.full((num_envs, 3), table.NO_WAY)
        self.rods.place(slice(None), np.full(num_envs, table.START))

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Float32[np.ndarray, "N 4"], dict[str, Any]]:
        """Begins episodes: all, or where `options["reset_mask"]` (`[N]`, bool) says so.

        Args:
            seed: Copy `i` gets `seed + i`, or the `i`-th of a list; its episodes follow from it.
            options: See above.
        """
        reseed(self._generators, seed)
        rows = rows_to_reset(options, self.num_envs)
        self.rods.place(rows, self._starts(rows))
        self._steps[rows] = 0
        self._collided[rows] = self._ended[rows] = False
        self._ways[rows] = table.NO_WAY
        return self._observations(), {}

    def _starts(self, rows: np.ndarray) -> Complex[np.ndarray, " n"]:
        if self._start_noise == 0:
            return np.full(len(rows), table.START)
        drawn = np.array([self._generators[row].normal(size=2) for row in rows.tolist()])
        offsets = self._start_noise * drawn.reshape(-1, 2).clip(-3, 3)
        return table.START + offsets[:, 0] + 1j * offsets[:, 1]

    def step(
        self, actions: Float[np.ndarray, "N 2"]
    ) -> tuple[
        Float32[np.ndarray, "N 4"],
        Float32[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        dict[str, Any],
    ]:
        """One step of 35 ms in the copies whose episode goes on.

        Returns:
            Observations, rewards, terminated, truncated (never), infos.
        """
        rows: Rows = np.flatnonzero(~self._ended) if self._ended.any() else slice(None)
        changes = np.asarray(actions[rows], float).clip(-MAX_CHANGE, MAX_CHANGE)
        self._collided[rows] |= self.rods.move(rows, changes[:, 0] + 1j * changes[:, 1])
        places = self.rods.position
        self._ways[rows] = table.note_ways(self._ways[rows], places[rows])
        self._steps[rows] += 1
        self._ended |= self._steps >= self._limit
        punished = self._collided | (places.real < table.LEFT) | (places.real > table.RIGHT)
        finished = ~punished & (places.imag > table.FINISH)
        on_the_way = ~punished & (self._ways[:, 2] == self._way)
        infos = {
            "success": finished if self._way is None else finished & on_the_way,
            "finished": finished,
            "ways": self._ways.copy(),
        }
        rewards = np.where(punished, _PENALTY, 1.0 * finished + on_the_way).astype(np.float32)
        never = np.zeros(self.num_envs, bool)
        return self._observations(), rewards, self._ended.copy(), never, infos

    def render(self) -> tuple[Any, ...]:
        """A picture of every table from above, `[400, 320, 3]`.

        Raises:
            ValueError: They were not made with `render_mode="rgb_array"`.
        """
        if self.render_mode is None:
            raise ValueError("render_mode=None: expected 'rgb_array'")
        return tuple(map(draw_table, self.rods.desired, self.rods.position))

    def _observations(self) -> Float32[np.ndarray, "N 4"]:
        desired, position = self.rods.desired, self.rods.position
        parts = (desired.real, desired.imag, position.real, position.imag)
        return np.stack(parts, axis=-1).astype(np.float32)


class AvoidEnv(gymnasium.Env):
    """One copy of `AvoidVectorEnv`, whose arguments it takes."""

    def __init__(self, **kwargs: Any):
        self.copies = AvoidVectorEnv(1, **kwargs)
        self.metadata, self.render_mode = self.copies.metadata, self.copies.render_mode
        self.observation_space = self.copies.single_observation_space
        self.action_space = self.copies.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "4"], dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        return self.copies.reset(seed=[seed])[0][0], {}

    def step(
        self, action: Float[np.ndarray, "2"]
    ) -> tuple[Float32[np.ndarray, "4"], float, bool, bool, dict[str, Any]]:
        """One step of 35 ms."""
        obs, rewards, terminated, _, infos = self.copies.step(action[None])
        info = {name: values[0] for name, values in infos.items()}
        return obs[0], float(rewards[0]), bool(terminated[0]), False, info

    def render(self) -> Any:
        """A picture of the table from above, `[400, 320, 3]`."""
        return self.copies.render()[0]


def _make_rods(simulator: str, num: int) -> Rods | PandaRods:
    if simulator == PLANAR:
        return Rods(num)
    if simulator == MUJOCO:
        from dppo_rllib.environments.avoid.panda import PandaRods

        return PandaRods(num)
    raise ValueError(f"simulator={simulator!r}: expected {PLANAR!r} or {MUJOCO!r}")


def _check(
    num_envs: int,
    way: int | None,
    start_noise: float,
    max_episode_steps: int | None,
    render_mode: str | None,
) -> None:
    limit = 1 if max_episode_steps is None else max_episode_steps
    for name, value in (("num_envs", num_envs), ("max_episode_steps", limit)):
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    if way not in (None, *table.LAST_WAYS):
        raise ValueError(f"way={way!r}: expected one of {list(table.LAST_WAYS)} or None")
    if not 0 <= start_noise < np.inf:
        raise ValueError(f"start_noise={start_noise}: expected a number from 0")
    if render_mode not in (None, "rgb_array"):
        raise ValueError(f"render_mode={render_mode!r}: expected 'rgb_array' or None")
