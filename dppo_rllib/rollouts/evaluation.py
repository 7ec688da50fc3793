"""Running whole episodes and saying how well they went."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import binomtest

from dppo_rllib.environments import ChunkedVectorEnv
from dppo_rllib.environments.arrays import Array, placed
from dppo_rllib.environments.chunked import Observations
from dppo_rllib.modules.policy import ChunkPolicy

Act = Callable[[Observations], Array]


def policy_act(policy: ChunkPolicy, *, deterministic: bool, seed: int = 0) -> Act:
    """How a policy acts, for `run_episodes`.

    Args:
        policy: On any device.
        deterministic: Greedily, or with the noise that training explores with.
        seed: Of the noise, the first of each chain included.
    """
    device = next(policy.actor.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)

    @torch.no_grad()
    def act(obs: Observations) -> np.ndarray:
        tensors = {key: torch.as_tensor(value, device=device) for key, value in obs.items()}
        noise = policy.draw_noise(len(obs["state"]), generator)
        chain = policy.sample(tensors, deterministic=deterministic, noise=noise, score=False)
        return chain.chunk[:, : policy.config.act_steps].cpu().numpy()

    return act


def success_interval(successes: int, episodes: int) -> tuple[float, float]:
    """95 % Wilson score interval of a success rate."""
    interval = binomtest(successes, episodes).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Episode:
    """What was done in an episode, and how it went.

    Attributes:
        chunks: `[T, Ta, Da]`, in order.
        total_reward: Undiscounted.
        success: Whether it succeeded; None where the task has no notion of success.
    """

    chunks: Float[np.ndarray, "T Ta Da"]
    total_reward: float
    success: bool | None

    def __str__(self) -> str:
        said = {None: "", True: ", success", False: ", no success"}[self.success]
        return f"return {self.total_reward:,.1f}{said}"


@dataclass(frozen=True)
class EpisodeResults:
    """Finished episodes, in no particular order.

    Attributes:
        first: The first episode of environment 0.
        returns: Undiscounted sum of rewards of each.
        lengths: Environment steps of each.
        successes: Whether each succeeded; None where the task has no notion of success.
        invalid: Episodes that were cut because the simulator failed.
        env_steps: Environment steps executed, those of unfinished episodes included.
    """

    first: Episode
    returns: Float[np.ndarray, " E"]
    lengths: Int[np.ndarray, " E"]
    successes: Bool[np.ndarray, " E"] | None
    invalid: int
    env_steps: int

    def summary(self) -> dict[str, float]:
        """Mean, deviation and extent of the returns, mean length, success rate with interval."""
        result = {
            "episodes": float(len(self.returns)),
            "return_mean": float(self.returns.mean()),
            "return_std": float(self.returns.std(ddof=1)) if len(self.returns) > 1 else 0.0,
            "return_min": float(self.returns.min()),
            "return_max": float(self.returns.max()),
            "length_mean": float(self.lengths.mean()),
        }
        if self.successes is not None:
            low, high = success_interval(int(self.successes.sum()), len(self.successes))
            result |= {
                "success_rate": float(self.successes.mean()),
                "success_rate_low": low,
                "success_rate_high": high,
            }
        return result


def run_episodes(
    env: ChunkedVectorEnv,
    act: Act,
    num_episodes: int,
    *,
    seed: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> EpisodeResults:
    """Runs `num_episodes` whole episodes from fresh resets.

    Each sub-environment owns a fixed share of the episodes, so that short ones are not counted
    more often than long ones.

    Args:
        env: Where to act.
        act: From observation histories to chunks `[N, Ta, Da]`.
        num_episodes: How many, at least one.
        seed: Of the resets.
        on_step: Told the number of finished episodes after every chunk.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes={num_episodes}: expected at least 1")
    n = env.num_envs
    left = num_episodes // n + (np.arange(n) < num_episodes % n)
    returns, lengths, successes = np.zeros(n), np.zeros(n, int), np.zeros(n, bool)
    done: list[tuple[float, int, bool]] = []
    chunks: list[np.ndarray] = []  # of the first episode of environment 0
    first: tuple[float, int, bool] | None = None
    has_success, invalid, env_steps = False, 0, 0
    obs, _ = env.reset(seed=seed)
    while left.any():
        actions = act(obs)
        if first is None:
            chunks.append(np.array(placed(actions[0], None)))
        obs, reward, terminated, truncated, infos = env.step(actions)
        returns += reward
        lengths += infos["env_steps"]
        env_steps += int(infos["env_steps"].sum())
        if "success" in infos:
            successes |= infos["success"]
            has_success = True
        for i in np.flatnonzero(terminated | truncated):
            if left[i] > 0:
                done.append((returns[i], lengths[i], successes[i]))
                invalid += int(infos["invalid"][i])
                left[i] -= 1
                if i == 0 and first is None:
                    first = done[-1]
            returns[i], lengths[i], successes[i] = 0, 0, False
        if on_step is not None:
            on_step(len(done))
    all_returns, all_lengths, all_successes = (
        np.array(column) for column in zip(*done, strict=True)
    )
    assert first is not None
    return EpisodeResults(
        first=Episode(np.stack(chunks), float(first[0]), bool(first[2]) if has_success else None),
        returns=all_returns,
        lengths=all_lengths,
        successes=all_successes if has_success else None,
        invalid=invalid,
        env_steps=env_steps,
    )


def repeat_episode(
    env: ChunkedVectorEnv,
    episode: Episode,
    *,
    seed: int | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Episode:
    """Does the first episode of `run_episodes` again.

    Args:
        env: A single environment, otherwise as there.
        episode: What is done.
        seed: As there.
        on_step: As there.

    Returns:
        How it went: the same, unless the simulator does not repeat itself.
    """
    # The last chunk goes on where the episode now takes longer.
    chunks = itertools.chain(episode.chunks, itertools.repeat(episode.chunks[-1]))
    return run_episodes(env, lambda _: next(chunks)[None], 1, seed=seed, on_step=on_step).first
