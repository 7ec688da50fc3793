"""What travels from a runner to a learner: contiguous arrays or tensors, time first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Num
from torch import Tensor

from dppo_rllib.environments.arrays import Array, placed


@dataclass(frozen=True)
class Trajectories:
    """`T` chunk steps of `N` environments.

    A plain dataclass, so that RLlib treats it as one leaf. Observations, chains and
    log-probabilities are tensors on the device of the runner that made them; `on_host` turns them
    into arrays, which then may be read-only views into the object store. The rest is on the host.

    Attributes:
        obs: Observation histories that the chunks were sampled for.
        chains: Fine-tuned denoising chains, `x` before the first step and after each.
        log_probs: Log-probability of each fine-tuned step when it was sampled.
        reward: Sum over the executed environment steps of the chunk.
        terminated: The episode ended inside the chunk, its value is zero from there.
        truncated: The episode was cut inside the chunk, its value goes on.
        is_first: The chunk is the first of its episode.
        env_steps: Environment steps executed.
        next_obs: Observation histories after the last chunk.
        final_obs: Last observation histories of the truncated episodes, one row each.
        final_index: `(t, n)` of the chunks that `final_obs` belongs to.
        env_ids: Number of each environment within the whole run.
        weights_seq_no: Version of the weights that acted.
    """

    obs: dict[str, Num[Array, "T N To *feature"]]
    chains: Float[Array, "T N K_ft_1 Tp Da"]
    log_probs: Float[Array, "T N K_ft"]
    reward: Float[np.ndarray, "T N"]
    terminated: Bool[np.ndarray, "T N"]
    truncated: Bool[np.ndarray, "T N"]
    is_first: Bool[np.ndarray, "T N"]
    env_steps: Int[np.ndarray, "T N"]
    next_obs: dict[str, Num[Array, "N To *feature"]]
    final_obs: dict[str, Num[Array, "M To *feature"]]
    final_index: Int[np.ndarray, "M 2"]
    env_ids: Int[np.ndarray, " N"]
    weights_seq_no: int = 0

    @property
    def num_envs(self) -> int:
        """`N`."""
        return len(self.env_ids)

    @property
    def num_chunk_steps(self) -> int:
        """`T`."""
        return len(self.reward)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays and tensors."""
        arrays = [v for v in vars(self).values() if isinstance(v, (np.ndarray, Tensor))]
        dicts = (self.obs, self.next_obs, self.final_obs)
        return sum(a.nbytes for a in arrays) + sum(a.nbytes for d in dicts for a in d.values())

    def on_host(self) -> Trajectories:
        """The same in arrays of NumPy: one transfer of each, or none where they are on the host."""
        return replace(
            self,
            chains=placed(self.chains, None),
            log_probs=placed(self.log_probs, None),
            obs={k: placed(v, None) for k, v in self.obs.items()},
            next_obs={k: placed(v, None) for k, v in self.next_obs.items()},
            final_obs={k: placed(v, None) for k, v in self.final_obs.items()},
        )

    def select(self, columns: Int[np.ndarray, " n"]) -> Trajectories:
        """The trajectories of some environments, in the given order."""
        position = np.full(self.num_envs, -1)
        position[columns] = np.arange(len(columns))
        kept = position[self.final_index[:, 1]] >= 0
        index = self.final_index[kept].copy()
        index[:, 1] = position[index[:, 1]]
        by_time = {
            name: getattr(self, name)[:, columns]
            for name in (
                "chains",
                "log_probs",
                "reward",
                "terminated",
                "truncated",
                "is_first",
                "env_steps",
            )
        }
        return replace(
            self,
            obs={k: v[:, columns] for k, v in self.obs.items()},
            next_obs={k: v[columns] for k, v in self.next_obs.items()},
            final_obs={k: v[kept] for k, v in self.final_obs.items()},
            final_index=index,
            env_ids=self.env_ids[columns],
            **by_time,
        )

    def split(self, shards: int) -> list[Trajectories]:
        """Shares the environments among `shards` learners, as evenly as can be; one gets `self`.

        Raises:
            ValueError: There are fewer environments than learners.
        """
        if not 1 <= shards <= self.num_envs:
            raise ValueError(
                f"shards={shards}: expected 1 to num_envs={self.num_envs}; give each runner at "
                "least as many environments as there are learners"
            )
        if shards == 1:
            return [self]
        return [self.select(c) for c in np.array_split(np.arange(self.num_envs), shards)]


def concatenate(parts: Sequence[Trajectories]) -> Trajectories:
    """Joins trajectories of equally many chunk steps along their environments; one is as it is."""
    if not parts:
        raise ValueError("no trajectories to join: expected at least one")
    if len(parts) == 1:
        return parts[0]
    offsets = np.cumsum([0, *(p.num_envs for p in parts[:-1])])
    index = [p.final_index + [0, offset] for p, offset in zip(parts, offsets, strict=True)]

    def join(name: str, axis: int) -> Any:
        return _joined([getattr(p, name) for p in parts], axis)

    def join_dict(name: str, axis: int) -> dict[str, Any]:
        keys = getattr(parts[0], name)
        return {k: _joined([getattr(p, name)[k] for p in parts], axis) for k in keys}

    return Trajectories(
        obs=join_dict("obs", 1),
        chains=join("chains", 1),
        log_probs=join("log_probs", 1),
        reward=join("reward", 1),
        terminated=join("terminated", 1),
        truncated=join("truncated", 1),
        is_first=join("is_first", 1),
        env_steps=join("env_steps", 1),
        next_obs=join_dict("next_obs", 0),
        final_obs=join_dict("final_obs", 0),
        final_index=np.concatenate(index),
        env_ids=join("env_ids", 0),
        weights_seq_no=min(p.weights_seq_no for p in parts),
    )


def _joined(arrays: Sequence[Any], axis: int) -> Any:
    """End to end; all are arrays, or all are tensors."""
    if isinstance(arrays[0], Tensor):
        return torch.cat(list(arrays), dim=axis)
    return np.concatenate(arrays, axis=axis)
