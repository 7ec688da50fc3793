"""Record demonstrations: run a policy in copies of an environment, keep whole episodes.

Nothing here knows how the policy was made. `dppo_rllib.tasks.behaviour` trains one with RLlib; a
scripted controller, or a policy loaded from elsewhere, is recorded in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Float, Float32, Shaped

from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.episodes import Episode, as_demonstrations
from dppo_rllib.environments.observation_spaces import (
    RGB,
    STATE,
    channel_axis,
    split_observation_space,
)

#: Raw observations [N, Do], or with pictures {"state": [N, Do], "rgb": [N, C, H, W] uint8}.
Observations = Float32[np.ndarray, "n do"] | dict[str, Shaped[np.ndarray, "n ..."]]
#: Observations and a generator for the policy's own noise -> actions [N, Da].
Policy = Callable[[Any, np.random.Generator], Float[np.ndarray, "n da"]]
#: Called after every finished episode with (episodes finished, episodes wanted).
EpisodeProgress = Callable[[int, int], None]

_DEFAULT_FPS = 30.0  # for environments whose metadata has no render_fps


def record_episodes(
    make_env: Callable[[], gym.Env],
    policy: Policy,
    *,
    episodes: int,
    num_envs: int = 16,
    seed: int = 0,
    task: str = "",
    progress: EpisodeProgress | None = None,
) -> Demonstrations:
    """Run `policy` for `episodes` whole episodes and return every transition of them.

    Every environment runs a number of episodes that is fixed beforehand, so that long episodes are
    as likely to be kept as short ones: "the first `episodes` to finish" would favour early falls.
    All numbers follow from `seed`, as far as environment and policy are deterministic themselves.

    Args:
        make_env: Builds one environment with box observations [Do] and box actions [Da]. Pictures
            may come beside: see `make_chunked_env`.
        policy: See `Policy`. Row i always belongs to environment i (an environment that has
            finished its episodes keeps its row, and its action is not used).
        episodes: Episodes to record.
        num_envs: Environments stepped together. At most `episodes` are used.
        seed: Seeds the environments and the generator that the policy receives.
        task: What the episodes show, in words.
        progress: See `EpisodeProgress`.

    Returns:
        The episodes in rounds: the first of every environment, then the second of every one, ….
        Fewer episodes with the same seed and `num_envs` are the first ones of more.
        Actions are those executed: clipped to the action space's bounds, in float32.
        Pictures are kept, channels first.

    Raises:
        ValueError: `episodes` or `num_envs` is not positive, the environment's spaces are not
            supported, or the policy's actions have the wrong shape or are not finite.
    """
    if episodes < 1:
        raise ValueError(f"episodes = {episodes}: must be at least 1")
    if num_envs < 1:
        raise ValueError(f"num_envs = {num_envs}: must be at least 1")
    num_envs = min(num_envs, episodes)
    env_seeds, policy_seed = np.random.SeedSequence(seed).spawn(2)
    rng = np.random.default_rng(policy_seed)
    envs = [make_env() for _ in range(num_envs)]
    try:
        recorders = [
            _EnvRecorder(env, quota=len(range(i, episodes, num_envs)), seed=int(env_seed))
            for i, (env, env_seed) in enumerate(
                zip(envs, env_seeds.generate_state(num_envs), strict=True)
            )
        ]
        _run(recorders, policy, rng, episodes, progress)
        fps = float(envs[0].metadata.get("render_fps") or _DEFAULT_FPS)
    finally:
        for env in envs:
            env.close()
    rounds = zip_longest(*(recorder.finished for recorder in recorders))
    return as_demonstrations([e for row in rounds for e in row if e is not None], fps, task)


def by_row(policies: Sequence[Policy]) -> Policy:
    """One policy made of several: environment i is driven by `policies[i % len(policies)]`.

    With `num_envs` a multiple of the number of policies, each records the same share of episodes.

    Raises:
        ValueError: `policies` is empty.
    """
    if not policies:
        raise ValueError("policies = []: must hold at least one policy")

    def policy(observations: Observations, rng: np.random.Generator) -> Float[np.ndarray, "n da"]:
        rows = len(observations[STATE] if isinstance(observations, dict) else observations)
        count = min(len(policies), rows)
        parts = [policies[i](_every(observations, i, count), rng) for i in range(count)]
        actions = np.empty((rows, parts[0].shape[-1]), dtype=parts[0].dtype)
        for i, part in enumerate(parts):
            actions[i::count] = part
        return actions

    return policy


class _EnvRecorder:
    """One environment and the episodes it still owes."""

    def __init__(self, env: gym.Env, *, quota: int, seed: int) -> None:
        self.env = env
        self.quota = quota
        self.finished: list[Episode] = []
        self.low, self.high = _bounds(env.action_space)
        _, rgb = split_observation_space(env.observation_space)
        self._channel_axis = None if rgb is None else channel_axis(rgb.shape)
        self.picture: np.ndarray | None = None
        self._reset(seed=seed)

    @property
    def running(self) -> bool:
        return len(self.finished) < self.quota

    def step(self, action: np.ndarray) -> bool:
        """Execute and record one action; returns True where it ended an episode."""
        action = np.clip(action.astype(np.float32), self.low, self.high)
        observation, reward, terminated, truncated, info = self.env.step(action)
        episode = self._episode
        episode.observations.append(self.observation)
        if self.picture is not None:
            episode.pictures.append(self.picture)
        episode.actions.append(action)
        episode.rewards.append(float(reward))
        episode.success.append(info.get("success"))
        # A fall in the very last step is a fall: the time limit adds nothing to it.
        episode.terminated = bool(terminated)
        episode.truncated = bool(truncated) and not terminated
        if not (terminated or truncated):
            self._observe(observation)
            return False
        self.finished.append(episode)
        if self.running:
            self._reset()
        return True

    def _reset(self, seed: int | None = None) -> None:
        # Only the first reset is seeded: later ones go on with the environment's own generator.
        self._episode = Episode()
        self._observe(self.env.reset(seed=seed)[0])

    def _observe(self, observation: Any) -> None:
        if self._channel_axis is None:
            self.observation = _as_row(observation)
        else:
            self.observation = _as_row(observation[STATE])
            self.picture = np.moveaxis(observation[RGB], self._channel_axis, 0).copy()


def _run(
    recorders: list[_EnvRecorder],
    policy: Policy,
    rng: np.random.Generator,
    episodes: int,
    progress: EpisodeProgress | None,
) -> None:
    finished = 0
    expected = (len(recorders), *recorders[0].low.shape)
    while any(recorder.running for recorder in recorders):
        actions = np.asarray(policy(_observed(recorders), rng))
        if actions.shape != expected:
            raise ValueError(f"policy: actions have shape {actions.shape}, expected {expected}")
        if not np.isfinite(actions).all():
            raise ValueError("policy: an action is NaN or infinite, expected finite numbers")
        for recorder, action in zip(recorders, actions, strict=True):
            if recorder.running and recorder.step(action):
                finished += 1
                if progress is not None:
                    progress(finished, episodes)


def _observed(recorders: list[_EnvRecorder]) -> Observations:
    states = np.stack([recorder.observation for recorder in recorders])
    pictures = [recorder.picture for recorder in recorders if recorder.picture is not None]
    return {STATE: states, RGB: np.stack(pictures)} if pictures else states


def _every(observations: Observations, first: int, step: int) -> Any:
    if isinstance(observations, dict):
        return {key: values[first::step] for key, values in observations.items()}
    return observations[first::step]


def _as_row(observation: Any) -> np.ndarray:
    row = np.array(observation, dtype=np.float32)  # a copy: some environments reuse their buffer
    if row.ndim != 1:
        raise ValueError(f"observation: has shape {row.shape}, expected [Do]")
    return row


def _bounds(space: gym.Space) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(space, gym.spaces.Box) or len(space.shape) != 1:
        raise ValueError(f"action_space = {space}: must be a Box of shape [Da]")
    return space.low.astype(np.float32), space.high.astype(np.float32)
