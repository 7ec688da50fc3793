"""Many environments, stepped a chunk of actions at a time: the protocol and how to get one."""

from __future__ import annotations

import copy
import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float, Float32

from dppo_rllib.environments import locomotion
from dppo_rllib.environments.arrays import Array, Values, beside, finite_rows, placed
from dppo_rllib.environments.batched import BatchedChunkEnvs
from dppo_rllib.environments.chunk_env import ChunkEnv
from dppo_rllib.environments.normalization import Normalization
from dppo_rllib.environments.observation_spaces import RGB, STATE, split_observation_space
from dppo_rllib.environments.resetting import seeds_of
from dppo_rllib.environments.vectorized import Histories, ParallelChunkEnvs, SerialChunkEnvs

# Arrays of NumPy, or tensors where a device was asked for.
Observations = dict[str, Any]
EnvFactory = Callable[..., gymnasium.Env]


class ChunkedVectorEnv(VectorEnv):
    """`N` environments whose action is a chunk of `Ta` actions in [-1, 1].

    - A sub-environment that ends inside its chunk executes no more of it, restarts, and returns
      the first observation of the new episode (same-step autoreset).
    - Observations are `{"state": [N, To, Do]}`, float32, normalised, newest last; at the start of
      an episode the first one is repeated. With pictures there is `"rgb": [N, Ti, C, H, W]`,
      uint8, too: those of the last `Ti` steps, all cameras' channels one after the other.
    - Rewards are summed over the executed steps.
    - `infos` holds dense arrays: `env_steps [N]` executed; `final_obs`, the histories as the chunk
      left them, before a restart (the observations themselves if no episode ended); `invalid [N]`,
      the episode was cut because the simulator failed (the step in which it did is not counted);
      and, once an environment has reported `success` or `is_success`, `success [N]`, in any step
      of the chunk, and `has_success [N]`, whether it reported.
    - With a `device`, observations (`final_obs` too) are tensors there, and so may actions be.
      Environments that are simulated on it hand over their own: nothing goes through the host but
      what decides about episodes (rewards, ends, counts), which are NumPy arrays always.

    Any Gymnasium environment can be run so; one that is faster together registers a
    `vector_entry_point`. Normalised states are clipped to ±`metadata["normalized_bound"]` where the
    environments say so.

    Args:
        envs: The environments, whose actions are the simulator's own.
        normalization: Maps observations and actions.
        device: Of observations; None for NumPy arrays.
    """

    def __init__(
        self,
        envs: SerialChunkEnvs | ParallelChunkEnvs | BatchedChunkEnvs,
        normalization: Normalization,
        device: torch.device | None = None,
    ):
        self._envs = envs
        self.normalization, self.device = normalization, device
        self.num_envs, self.render_mode = envs.num_envs, envs.render_mode
        self.metadata = {**envs.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        chunks = envs.action_space
        self._low, self._high = chunks.low, chunks.high
        histories = envs.observation_space
        if isinstance(histories, gymnasium.spaces.Box):
            histories = gymnasium.spaces.Dict({STATE: histories})
        self.single_observation_space = histories
        self.single_action_space = gymnasium.spaces.Box(-1, 1, chunks.shape, np.float32)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._has_success = False

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Observations, dict[str, Any]]:
        """Restarts all episodes; sub-environment `i` gets `seed + i`.

        Raises:
            ValueError: As many seeds as sub-environments were expected.
        """
        return self._observations(self._envs.reset(seeds_of(seed, self.num_envs), options)), {}

    def step(
        self, actions: Float[Array, "N Ta Da"]
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
        results = self._envs.step(self._simulator_actions(actions))
        obs = self._observations(results.start)
        ended = results.final is not results.start
        self._has_success |= bool(results.has_success.any())
        infos: dict[str, Any] = {
            "env_steps": results.env_steps,
            "final_obs": self._observations(results.final) if ended else obs,
            "invalid": results.invalid,
        }
        if self._has_success:
            infos |= {"success": results.success, "has_success": results.has_success}
        reward = results.reward.astype(np.float32)
        return obs, reward, results.terminated, results.truncated, infos

    def pop_frames(self) -> list[np.ndarray]:
        """Pictures of sub-environment 0 since the last call.

        One per environment step, or, of a faster simulator, `metadata["render_fps"]` (at most 30)
        for each simulated second.

        Raises:
            ValueError: The environments were not made with `render_mode="rgb_array"`, or in
                processes.
        """
        if self.render_mode != "rgb_array":
            raise ValueError(f"render_mode={self.render_mode!r}: expected 'rgb_array'")
        return self._envs.pop_frames()

    def close_extras(self, **kwargs: Any) -> None:
        """Closes the sub-environments."""
        self._envs.close()

    def _observations(self, histories: Histories) -> Observations:
        raw: Any = histories[STATE] if isinstance(histories, dict) else histories
        states = normalized_states(raw, self.normalization, self.metadata)
        observations = {STATE: placed(states, self.device)}
        if isinstance(histories, dict):
            observations[RGB] = placed(histories[RGB], self.device)
        return observations

    def _simulator_actions(self, chunks: Float[Array, "N Ta Da"]) -> Any:
        if chunks.shape != self.action_space.shape:
            raise ValueError(
                f"chunks: shape {tuple(chunks.shape)}, expected {self.action_space.shape}"
            )
        if not (sound := finite_rows(chunks)).all():
            rows = np.flatnonzero(~sound).tolist()
            raise ValueError(f"chunks of sub-environments {rows}: expected finite numbers")
        near = placed(chunks, self._envs.device).clip(-1, 1)
        actions = self.normalization.denormalize_action(near)
        # Rounding, or a normalization with other ranges, may exceed what the simulator takes.
        low, high = beside(self._low, actions), beside(self._high, actions)
        if isinstance(actions, np.ndarray):
            actions = actions.astype(low.dtype, copy=False)
        return actions.clip(low, high)


def normalized_states(
    states: Float[Values, "N To Do"], normalization: Normalization, metadata: Mapping[str, Any]
) -> Float32[Values, "N To Do"]:
    """States as policies see them.

    Args:
        states: In the simulator's own units.
        normalization: Of the policy.
        metadata: The environments'; with `normalized_bound`, what is normalised is clipped to it.
    """
    normalized = normalization.normalize_obs(states)
    bound = metadata.get("normalized_bound")
    if bound is None or normalization.obs_min is None:
        return normalized
    return normalized.clip(-bound, bound)


def make_chunked_env(
    env: str | EnvFactory,
    num_envs: int,
    *,
    act_steps: int,
    cond_steps: int,
    img_cond_steps: int = 1,
    normalization: Normalization | None = None,
    env_kwargs: dict[str, Any] | None = None,
    max_episode_steps: int | None = None,
    vectorization: str = "auto",
    render_mode: str | None = None,
    device: torch.device | None = None,
) -> ChunkedVectorEnv:
    """Builds `num_envs` copies of an environment that are stepped in chunks.

    The environment's observations are a Box of one dimension, or pictures beside it:
    `Dict(state=Box(Do), rgb=Box(H, W, C))`, or `(C, H, W)`, of uint8. Which axis the channels are
    is told by its length: 1 or a multiple of 3 (several cameras), and less than the others.

    Args:
        env: A Gymnasium id (`"module:id"` imports the module first), or a callable that returns a
            `gymnasium.Env`.
        num_envs: `N`.
        act_steps: `Ta`, actions per chunk.
        cond_steps: `To`, observations in a history.
        img_cond_steps: `Ti`, pictures in a history.
        normalization: None uses observations as they are and spreads actions over the bounds of
            the action space.
        env_kwargs: Passed to Gymnasium or to the callable.
        max_episode_steps: Cuts episodes; None keeps the limit that the id was registered with. A
            limit that a callable has set itself stays too.
        vectorization: "sync" steps one after the other, "async" in a process each. "auto" takes
            the vector environment that the id is registered with (`vector_entry_point`) if it
            fits, see `BatchedChunkEnvs`, ours for Gymnasium's Hopper, Walker2d and HalfCheetah
            (`dppo_rllib.environments.locomotion`), and "sync" otherwise.
        render_mode: Of sub-environment 0; "rgb_array" to collect pictures, see
            `ChunkedVectorEnv.pop_frames`.
        device: Where observations are tensors; None for NumPy arrays.

    Raises:
        ValueError: An argument is out of range, the id is unknown, or the environment's spaces
            are not supported or do not fit the normalization.
        TypeError: `env` is neither an id nor a callable that returns an environment.
    """
    for name, value in (
        ("num_envs", num_envs),
        ("act_steps", act_steps),
        ("cond_steps", cond_steps),
        ("img_cond_steps", img_cond_steps),
        ("max_episode_steps", 1 if max_episode_steps is None else max_episode_steps),
    ):
        if value < 1:
            raise ValueError(f"{name}={value}: expected at least 1")
    if vectorization not in ("auto", "sync", "async"):
        raise ValueError(f"vectorization={vectorization!r}: expected 'auto', 'sync' or 'async'")
    kwargs = dict(env_kwargs or {})
    steps = (act_steps, cond_steps, img_cond_steps)
    if vectorization == "auto" and isinstance(env, str):
        together = _make_together(_find_spec(env), num_envs, kwargs, max_episode_steps, render_mode)
        if together is not None:
            return _chunked_together(together, steps, normalization, device)
    make = functools.partial(_make_single, env, kwargs, max_episode_steps)
    probe = make()
    try:
        state, rgb = split_observation_space(probe.observation_space)
        normalization = _fitting_normalization(state, probe.action_space, normalization)
    finally:
        probe.close()
    _check_pictures(rgb, img_cond_steps)
    builds = [functools.partial(ChunkEnv, make, *steps)] * num_envs
    if render_mode is not None:
        # Pictures cost time and memory, and only those of the first are asked for.
        filmed = functools.partial(
            _make_single, env, {**kwargs, "render_mode": render_mode}, max_episode_steps
        )
        builds[0] = functools.partial(ChunkEnv, filmed, *steps)
    vectorized = ParallelChunkEnvs if vectorization == "async" else SerialChunkEnvs
    return ChunkedVectorEnv(vectorized(builds), normalization, device)


def _make_together(
    spec: gymnasium.envs.registration.EnvSpec,
    num_envs: int,
    kwargs: dict[str, Any],
    max_episode_steps: int | None,
    render_mode: str | None,
) -> VectorEnv | None:
    """The vector environment that an id has; None if there is none that fits."""
    spec.vector_entry_point = spec.vector_entry_point or locomotion.vector_entry_point(spec)
    if spec.vector_entry_point is None or spec.additional_wrappers:
        return None
    settings = {**kwargs, "render_mode": render_mode, "max_episode_steps": max_episode_steps}
    given = {name: value for name, value in settings.items() if value is not None}
    envs = gymnasium.make_vec(spec, num_envs, gymnasium.VectorizeMode.VECTOR_ENTRY_POINT, **given)
    if envs.metadata.get("autoreset_mode") is AutoresetMode.DISABLED:
        return envs
    envs.close()
    return None


def _chunked_together(
    envs: VectorEnv,
    steps: tuple[int, int, int],
    normalization: Normalization | None,
    device: torch.device | None,
) -> ChunkedVectorEnv:
    try:
        state, rgb = split_observation_space(envs.single_observation_space)
        normalization = _fitting_normalization(state, envs.single_action_space, normalization)
        _check_pictures(rgb, steps[2])
        return ChunkedVectorEnv(BatchedChunkEnvs(envs, *steps), normalization, device)
    except ValueError:
        envs.close()
        raise


def _check_pictures(rgb: gymnasium.spaces.Box | None, img_cond_steps: int) -> None:
    if rgb is None and img_cond_steps != 1:
        raise ValueError(
            f"img_cond_steps={img_cond_steps}: expected 1, there are no pictures (vision=None)"
        )


def _make_single(
    env: str | EnvFactory, kwargs: dict[str, Any], max_episode_steps: int | None
) -> gymnasium.Env:
    if isinstance(env, str):
        return gymnasium.make(_find_spec(env), max_episode_steps=max_episode_steps, **kwargs)
    if not callable(env):
        raise TypeError(f"env={env!r}: expected a Gymnasium id or a callable")
    single = env(**kwargs)
    if not isinstance(single, gymnasium.Env):
        raise TypeError(f"env={env!r}: returned {single!r}, expected a gymnasium.Env")
    if max_episode_steps is not None:
        single = gymnasium.wrappers.TimeLimit(single, max_episode_steps)
    return single


def _find_spec(env: str) -> gymnasium.envs.registration.EnvSpec:
    module, _, env_id = env.rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        spec = copy.deepcopy(gymnasium.spec(env_id))
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise ValueError(
            f"env={env!r}: expected a registered Gymnasium id, or a callable that returns an "
            f"environment ({error})"
        ) from error
    # Checks of every step that Gymnasium's own environments do not need.
    spec.order_enforce, spec.disable_env_checker = False, True
    return spec


def _fitting_normalization(
    state: gymnasium.spaces.Box, action: gymnasium.Space, normalization: Normalization | None
) -> Normalization:
    if not isinstance(action, gymnasium.spaces.Box) or len(action.shape) != 1:
        raise ValueError(f"action_space={action}: expected a Box of one dimension")
    if not np.issubdtype(action.dtype, np.floating):
        raise ValueError(f"action_space={action}: expected a Box of floats")
    if normalization is None:
        return Normalization.from_spaces(action)
    for name, ends, length in (
        ("obs_min", normalization.obs_min, state.shape[0]),
        ("action_min", normalization.action_min, action.shape[0]),
    ):
        if ends is not None and len(ends) != length:
            raise ValueError(
                f"normalization.{name}: {len(ends)} entries, expected {length} as the environment"
            )
    return normalization
