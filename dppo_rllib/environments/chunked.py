"""Many environments, stepped a chunk of actions at a time: the protocol and how to get one."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Float32

from dppo_rllib.environments.chunk_env import ChunkEnv
from dppo_rllib.environments.normalization import Normalization

Observations = dict[str, np.ndarray]
EnvFactory = Callable[..., gymnasium.Env]


class ChunkedVectorEnv(VectorEnv):
    """`N` environments whose action is a chunk of `Ta` actions in [-1, 1].

    - A sub-environment that ends inside its chunk executes no more of it, restarts, and returns
      the first observation of the new episode; `infos["final_obs"]` holds the last one of the old.
    - Observations are `{"state": [N, To, Do]}`, float32, normalised, newest last.
    - Rewards are summed over the executed steps.
    - `infos` holds dense arrays: `env_steps [N]` executed; `invalid [N]`, the episode was cut
      because the simulator failed; `success [N]` where the environment reports success;
      `final_obs`, of whose rows those of ended episodes are valid.

    This implementation runs any Gymnasium environment through Gymnasium's own vector
    environments; families with a faster simulator implement the same protocol.

    Args:
        envs: Vector environment of `ChunkEnv`s with same-step autoreset.
        normalization: Maps observations and actions.
    """

    def __init__(self, envs: SyncVectorEnv | AsyncVectorEnv, normalization: Normalization):
        self._envs = envs
        self.normalization = normalization
        self.num_envs = envs.num_envs
        self.spec, self.render_mode = envs.spec, envs.render_mode
        self.metadata = {**envs.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space = gymnasium.spaces.Dict(state=envs.single_observation_space)
        shape = envs.single_action_space.shape
        self.single_action_space = gymnasium.spaces.Box(-1, 1, shape, np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._has_success = False

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observations, dict[str, Any]]:
        """Restarts all episodes; sub-environment `i` gets `seed + i`."""
        obs, _ = self._envs.reset(seed=seed, options=options)
        return {"state": self.normalization.normalize_obs(obs)}, {}

    def step(
        self, actions: Float[np.ndarray, "N Ta Da"]
    ) -> tuple[
        Observations,
        Float32[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        Bool[np.ndarray, " N"],
        dict[str, Any],
    ]:
        """Executes a chunk in every sub-environment; actions are clipped to [-1, 1].

        Returns:
            Observations, summed rewards, terminated, truncated, infos.

        Raises:
            ValueError: An action is NaN or infinite, or chunks have another shape.
        """
        if actions.shape != self.action_space.shape:
            raise ValueError(f"chunks: shape {actions.shape}, expected {self.action_space.shape}")
        if not np.isfinite(actions).all():
            rows = np.flatnonzero(~np.isfinite(actions).all(axis=(1, 2))).tolist()
            raise ValueError(f"chunks of sub-environments {rows}: expected finite numbers")
        raw = self.normalization.denormalize_action(actions.clip(-1, 1))
        obs, reward, terminated, truncated, raw_infos = self._envs.step(raw)
        state = self.normalization.normalize_obs(obs)
        infos = self._merge(raw_infos, terminated | truncated)
        infos["final_obs"] = {"state": self._final(raw_infos, state, terminated | truncated)}
        return {"state": state}, reward.astype(np.float32), terminated, truncated, infos

    def _merge(self, raw: dict[str, Any], done: Bool[np.ndarray, " N"]) -> dict[str, Any]:
        """Infos of the chunk; those of ended episodes lie apart, behind the reset's."""
        merged = {}
        for key, dtype in (
            ("env_steps", np.int64),
            ("invalid", bool),
            ("success", bool),
            ("has_success", bool),
        ):
            values = np.asarray(raw.get(key, np.zeros(self.num_envs)), dtype=dtype)
            if done.any():
                values = np.where(done, np.asarray(raw["final_info"][key], dtype=dtype), values)
            merged[key] = values
        self._has_success |= bool(merged.pop("has_success").any())
        if not self._has_success:
            merged.pop("success")
        return merged

    def _final(
        self,
        raw: dict[str, Any],
        state: Float32[np.ndarray, "N To Do"],
        done: Bool[np.ndarray, " N"],
    ) -> Float32[np.ndarray, "N To Do"]:
        final = np.zeros_like(state)
        if done.any():
            last = np.stack([raw["final_obs"][i] for i in np.flatnonzero(done)])
            final[done] = self.normalization.normalize_obs(last)
        return final

    def pop_frames(self) -> list[np.ndarray]:
        """Pictures of sub-environment 0, one per environment step since the last call.

        Raises:
            ValueError: The environments were not made with `render_mode="rgb_array"`.
        """
        if self.render_mode != "rgb_array" or not isinstance(self._envs, SyncVectorEnv):
            raise ValueError(
                f"render_mode={self.render_mode}: expected 'rgb_array' with vectorization='sync'"
            )
        first = self._envs.envs[0]
        assert isinstance(first, ChunkEnv)
        frames, first.frames = first.frames, []
        return frames

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the sub-environments."""
        self._envs.close(**kwargs)


def make_chunked_env(
    env: str | EnvFactory,
    num_envs: int,
    *,
    act_steps: int,
    cond_steps: int,
    normalization: Normalization | None = None,
    env_kwargs: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    vectorization: str = "sync",
    render_mode: str | None = None,
) -> ChunkedVectorEnv:
    """Builds `num_envs` copies of an environment that are stepped in chunks.

    Args:
        env: A Gymnasium id, or a callable that returns a `gymnasium.Env`.
        num_envs: `N`.
        act_steps: `Ta`, actions per chunk.
        cond_steps: `To`, observations in a history.
        normalization: None uses observations as they are and spreads actions over the bounds of
            the action space.
        env_kwargs: Passed to Gymnasium or to the callable.
        max_episode_steps: Cuts episodes; None keeps the limit that the id was registered with.
        vectorization: "sync" steps one after the other, "async" in a process each.
        render_mode: "rgb_array" to collect pictures, see `ChunkedVectorEnv.pop_frames`.

    Raises:
        ValueError: An argument is out of range, or does not fit the environment's spaces.
        gymnasium.error.Error: The id is unknown.
    """
    for name, value in (
        ("num_envs", num_envs),
        ("act_steps", act_steps),
        ("cond_steps", cond_steps),
    ):
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    if vectorization not in ("sync", "async"):
        raise ValueError(f"vectorization={vectorization!r}: expected 'sync' or 'async'")
    kwargs = dict(env_kwargs or {})
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    make = functools.partial(_make_single, env, kwargs, max_episode_steps)
    probe = make()
    try:
        normalization = _fitting_normalization(probe, normalization)
    finally:
        probe.close()
    chunked = functools.partial(ChunkEnv, make, act_steps, cond_steps)
    vector_class = SyncVectorEnv if vectorization == "sync" else AsyncVectorEnv
    envs = vector_class([chunked] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    return ChunkedVectorEnv(envs, normalization)


def _make_single(
    env: str | EnvFactory, kwargs: dict[str, Any], max_episode_steps: int | None
) -> gymnasium.Env:
    if callable(env):
        single = env(**kwargs)
        if max_episode_steps is not None:
            single = gymnasium.wrappers.TimeLimit(single, max_episode_steps)
        return single
    spec = copy.deepcopy(gymnasium.spec(env))
    # Checks of every step that Gymnasium's own environments do not need.
    spec.order_enforce, spec.disable_env_checker = False, True
    return gymnasium.make(spec, max_episode_steps=max_episode_steps, **kwargs)


def _fitting_normalization(
    env: gymnasium.Env, normalization: Normalization | None
) -> Normalization:
    obs, action = env.observation_space, env.action_space
    for name, space in (("observation_space", obs), ("action_space", action)):
        if not isinstance(space, gymnasium.spaces.Box) or len(space.shape) != 1:
            raise ValueError(f"{name}={space}: expected a Box of one dimension")
    assert isinstance(action, gymnasium.spaces.Box) and obs.shape is not None
    if normalization is None:
        return Normalization.from_spaces(action)
    for name, ends, length in (
        ("obs_min", normalization.obs_min, obs.shape[0]),
        ("action_min", normalization.action_min, action.shape[0]),
    ):
        if ends is not None and len(ends) != length:
            raise ValueError(
                f"normalization.{name}: {len(ends)} entries, but the environment has {length}"
            )
    return normalization
