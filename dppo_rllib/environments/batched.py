"""Chunks of actions over environments that are simulated together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool, Float, Int, Shaped

from dppo_rllib.environments.arrays import Array, finite_rows, placed
from dppo_rllib.environments.chunk_env import filmed
from dppo_rllib.environments.observation_spaces import (
    RGB,
    STATE,
    channel_axis,
    channels_first,
    split_observation_space,
)
from dppo_rllib.environments.vectorized import ChunkResults, Histories, HistorySpace

# Episodes one after the other that a simulator may fail in.
_MAX_FAILED_EPISODES = 10


class BatchedChunkEnvs:
    """As `SerialChunkEnvs`, over a vector environment of Gymnasium.

    It must leave episodes that have ended alone until `reset(options={"reset_mask": …})`
    (`AutoresetMode.DISABLED`), and may say `invalid` in its infos where the simulator failed in
    this step. What it returns that is not finite is taken for a failure too.

    One that simulates a chunk faster as a whole has the method `step_chunk(chunks)`, which yields
    what `step` would return for each of its actions; what `render` shows follows. It is left where
    it is once all episodes have ended. `picture(row)` draws one copy where `render` draws all.

    One with pictures may have the attribute `draw_in_step` and the method `draw(rows)`, which
    returns pictures of these copies. Where a history holds one picture, only those at the end of
    chunks are drawn.

    One that is simulated on a device may have the attributes `device` and `as_tensors`: set, it
    takes actions and returns observations as tensors (float32) there.

    Args:
        envs: The environments.
        act_steps: `Ta`.
        cond_steps: `To`.
        img_cond_steps: `Ti`.

    Raises:
        ValueError: They restart episodes by themselves, or their spaces are not understood.
    """

    def __init__(self, envs: VectorEnv, act_steps: int, cond_steps: int, img_cond_steps: int = 1):
        if envs.metadata.get("autoreset_mode") is not AutoresetMode.DISABLED:
            raise ValueError(
                f"{envs}: autoreset_mode={envs.metadata.get('autoreset_mode')}, expected "
                "AutoresetMode.DISABLED; choose vectorization='sync'"
            )
        self._envs = envs
        self.num_envs, self.render_mode = envs.num_envs, envs.render_mode
        self.device: torch.device | None = None
        if hasattr(envs, "as_tensors"):
            envs.as_tensors = True
            self.device = envs.device  # type: ignore[attr-defined]
        self._frame_interval, self.metadata = filmed(envs.metadata)
        self._frames: list[np.ndarray] = []
        self._filmed = 0
        state, rgb = split_observation_space(envs.single_observation_space)
        cells = np.zeros((self.num_envs, cond_steps + act_steps, *state.shape), np.float32)
        self._tapes = {STATE: _Tape(placed(cells, self.device), cond_steps)}
        histories: dict[str, gymnasium.Space] = {
            STATE: gymnasium.spaces.Box(-np.inf, np.inf, (cond_steps, *state.shape), np.float32)
        }
        self._channels_last = rgb is not None and channel_axis(rgb.shape) == 2
        if rgb is not None:
            shape = channels_first(rgb.shape)
            pictures = np.zeros((self.num_envs, img_cond_steps + act_steps, *shape), np.uint8)
            self._tapes[RGB] = _Tape(pictures, img_cond_steps)
            histories[RGB] = gymnasium.spaces.Box(0, 255, (img_cond_steps, *shape), np.uint8)
        late = rgb is not None and img_cond_steps == 1
        self._draws_late = late and getattr(envs, "draw_in_step", False)
        if self._draws_late:
            envs.draw_in_step = False  # type: ignore[attr-defined]
        self.observation_space: HistorySpace = (
            gymnasium.spaces.Dict(histories) if rgb is not None else histories[STATE]  # type: ignore[assignment]
        )
        action = envs.single_action_space
        assert isinstance(action, gymnasium.spaces.Box)
        low, high = np.tile(action.low, (act_steps, 1)), np.tile(action.high, (act_steps, 1))
        self.action_space = gymnasium.spaces.Box(low, high, dtype=action.low.dtype.type)
        self._failed_episodes = np.zeros(self.num_envs, np.int64)

    def reset(self, seeds: Sequence[int | None], options: dict[str, Any] | None) -> Histories:
        """Starts all episodes."""
        # Gymnasium's vector environments take a list; their base class does not say so.
        obs, _ = self._envs.reset(seed=list(seeds), options=options)  # type: ignore[arg-type]
        everyone = np.ones(self.num_envs, bool)
        self._failed_episodes[:] = 0
        self._begin(obs, everyone)
        return self._histories({key: tape.at_start() for key, tape in self._tapes.items()})

    def step(self, chunks: Float[Array, "N Ta Da"]) -> ChunkResults:
        """Executes a chunk of the simulator's own actions in each."""
        counts = _Counts(self.num_envs)
        for step, result in enumerate(self._steps(chunks)):
            obs, reward, terminated, truncated, infos = result
            state = obs[STATE] if isinstance(obs, dict) else obs
            sound = finite_rows(state) & np.isfinite(reward)
            sound &= ~np.asarray(infos.get("invalid", False), bool)
            executed = counts.add(sound, reward, terminated, truncated, infos)
            self._write(obs, executed, step)
            if self.render_mode == "rgb_array" and executed[0]:
                self._film()
            if not counts.running.any():
                break
        self._draw_last(counts)
        finals = {key: tape.after(counts.steps) for key, tape in self._tapes.items()}
        starts, ended = finals, ~counts.running
        if ended.any():
            self._refuse_hopeless(counts)
            first, _ = self._envs.reset(options={"reset_mask": ended})
            self._begin(first, ended)
            starts = {key: tape.at_start() for key, tape in self._tapes.items()}
        start = self._histories(starts)
        return ChunkResults(
            start,
            self._histories(finals) if ended.any() else start,
            counts.reward,
            counts.terminated,
            counts.truncated,
            counts.steps,
            counts.invalid,
            counts.success,
            np.full(self.num_envs, counts.has_success),
        )

    def pop_frames(self) -> list[np.ndarray]:
        """Pictures of environment 0 since the last call."""
        frames, self._frames = self._frames, []
        return frames

    def close(self) -> None:
        """Closes the environments."""
        self._envs.close()

    def _steps(self, chunks: Float[Array, "N Ta Da"]) -> Iterable[tuple[Any, ...]]:
        """What `step` returns for each action of the chunks."""
        if hasattr(self._envs, "step_chunk"):
            return self._envs.step_chunk(chunks)
        return (self._envs.step(chunks[:, step]) for step in range(chunks.shape[1]))

    def _film(self) -> None:
        if self._filmed % self._frame_interval == 0:
            envs: Any = self._envs
            picture = envs.picture(0) if hasattr(envs, "picture") else envs.render()[0]
            self._frames.append(np.asarray(picture))
        self._filmed += 1

    def _histories(self, arrays: dict[str, Any]) -> Histories:
        return arrays if RGB in self._tapes else arrays[STATE]

    def _begin(self, obs: Any, rows: Bool[np.ndarray, " N"]) -> None:
        if isinstance(obs, dict):
            if self._draws_late:
                obs = {**obs, RGB: obs[RGB].copy()}
                obs[RGB][rows] = self._envs.draw(np.flatnonzero(rows))  # type: ignore[attr-defined]
            self._tapes[RGB].fill(self._first_channels(obs[RGB]), rows)
            obs = obs[STATE]
        self._tapes[STATE].fill(obs, rows)

    def _write(self, obs: Any, rows: Bool[np.ndarray, " N"], step: int) -> None:
        if isinstance(obs, dict):
            if not self._draws_late:
                self._tapes[RGB].write(self._first_channels(obs[RGB]), rows, step)
            obs = obs[STATE]
        self._tapes[STATE].write(obs, rows, step)

    def _draw_last(self, counts: _Counts) -> None:
        """Pictures of how the chunk has left things; of what failed there is none."""
        if self._draws_late:
            self._tapes[RGB].repeat(counts.invalid, counts.steps)
            rows = np.flatnonzero((counts.steps > 0) & ~counts.invalid)
            if len(rows):
                pictures = self._envs.draw(rows)  # type: ignore[attr-defined]
                self._tapes[RGB].place(self._first_channels(pictures), rows, counts.steps[rows])

    def _first_channels(self, pictures: np.ndarray) -> np.ndarray:
        return pictures.transpose(0, 3, 1, 2) if self._channels_last else pictures

    def _refuse_hopeless(self, counts: _Counts) -> None:
        ended = ~counts.running
        self._failed_episodes[ended & ~counts.invalid] = 0
        self._failed_episodes[counts.invalid] += 1
        hopeless = np.flatnonzero(self._failed_episodes >= _MAX_FAILED_EPISODES)
        if len(hopeless):
            raise FloatingPointError(
                f"{self._envs}: the simulator failed in {_MAX_FAILED_EPISODES} episodes in a row "
                f"in copies {hopeless.tolist()}"
            )


class _Counts:
    """What a chunk has led to so far."""

    def __init__(self, num_envs: int):
        self.running = np.ones(num_envs, bool)
        self.reward = np.zeros(num_envs)
        self.steps = np.zeros(num_envs, np.int64)
        self.terminated, self.truncated, self.invalid, self.success = np.zeros((4, num_envs), bool)
        self.has_success = False

    def add(
        self,
        sound: Bool[np.ndarray, " N"],
        reward: Float[np.ndarray, " N"],
        terminated: Bool[np.ndarray, " N"],
        truncated: Bool[np.ndarray, " N"],
        infos: dict[str, Any],
    ) -> Bool[np.ndarray, " N"]:
        """Adds a step; returns which copies have executed it."""
        executed = self.running & sound
        self.invalid |= self.running & ~sound
        self.reward[executed] += reward[executed]
        self.steps += executed
        self.terminated |= executed & terminated
        self.truncated |= (executed & truncated) | self.invalid
        for key in ("success", "is_success"):
            if key in infos:
                self.has_success = True
                self.success |= executed & np.asarray(infos[key], bool)
        self.running = executed & ~(terminated | truncated)
        return executed


class _Tape:
    """Of `N` environments what they have shown, as `histories` has it of one.

    Args:
        cells: `[N, T + Ta, …]`, with room for a history and what a chunk shows after it.
        length: Of a history, `T`.
    """

    def __init__(self, cells: Array, length: int):
        self._cells: Any = cells
        self._everyone = np.arange(len(cells))
        self._length = length

    def fill(self, obs: Shaped[Array, "N ..."], rows: Bool[np.ndarray, " N"]) -> None:
        """The first observation of an episode, repeated."""
        self._cells[rows, : self._length] = obs[rows, None]

    def write(self, obs: Shaped[Array, "N ..."], rows: Bool[np.ndarray, " N"], step: int) -> None:
        """What a step of the chunk, counted from 0, has shown."""
        self._cells[rows, self._length + step] = obs[rows]

    def place(
        self,
        obs: Shaped[Array, "n ..."],
        rows: Int[np.ndarray, " n"],
        steps: Int[np.ndarray, " n"],
    ) -> None:
        """What so many executed steps have shown in the end."""
        self._cells[rows, self._length + steps - 1] = obs

    def repeat(self, rows: Bool[np.ndarray, " N"], steps: Int[np.ndarray, " N"]) -> None:
        """What was shown before the chunk, once more as what so many steps have shown."""
        newest = self._cells[rows, self._length - 1]
        self._cells[rows, self._length + steps[rows] - 1] = newest

    def after(self, steps: Int[np.ndarray, " N"]) -> Shaped[Array, "N T ..."]:
        """Histories after so many steps of the chunk; those to go on from."""
        rows = self._everyone[:, None]
        histories = self._cells[rows, steps[:, None] + np.arange(self._length)]
        self._cells[:, : self._length] = histories
        return histories

    def at_start(self) -> Shaped[Array, "N T ..."]:
        """Histories to go on from."""
        return self._cells[self._everyone, : self._length]  # a copy, as indices always make
