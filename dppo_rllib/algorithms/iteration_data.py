"""One iteration's data on the learner's device, addressed by (chunk step, denoising step)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from dppo_rllib.algorithms import collectives
from dppo_rllib.environments.arrays import Array
from dppo_rllib.rollouts.trajectories import Trajectories


@dataclass(frozen=True)
class IterationData:
    """All a learner needs for its epochs; one transfer, then only gathers.

    A *pair* is one training sample: row `r` (chunk step `t` of environment `n`, `r = t·N + n` over
    the environments of all learners, in the order of their ids) and fine-tuned step `k`, numbered
    `r·K' + k`. Every learner numbers pairs alike, holds the advantages of all, and trains on those
    whose rows it owns: any number of learners sees the same minibatches.

    Attributes:
        obs: Observation histories of the own rows.
        chains: Their denoising chains.
        log_probs: Their log-probabilities at sampling time.
        values: Their values before the update.
        returns: Their value targets.
        advantages: Advantages of the rows of all learners.
        own_row: Position of each row among the own ones, -1 for those of others; None when every
            row is one's own.
    """

    obs: dict[str, Tensor]
    chains: Float[Tensor, "R K_ft_1 Tp Da"]
    log_probs: Float[Tensor, "R K_ft"]
    values: Float[Tensor, " R"]
    returns: Float[Tensor, " R"]
    advantages: Float[Tensor, " R_all"]
    own_row: Int[Tensor, " R_all"] | None

    @property
    def ft_denoising_steps(self) -> int:
        """`K'`."""
        return self.log_probs.shape[1]

    @property
    def num_pairs(self) -> int:
        """Training samples of all learners."""
        return len(self.advantages) * self.ft_denoising_steps

    @property
    def has_pictures(self) -> bool:
        """Encoding an observation is costly."""
        return "rgb" in self.obs

    def observations(self, rows: Int[Tensor, " B"]) -> dict[str, Tensor]:
        """Observation histories of some own rows."""
        return {key: values[rows] for key, values in self.obs.items()}

    def locate(
        self, pairs: Int[Tensor, " B"]
    ) -> tuple[Int[Tensor, " b"], Int[Tensor, " b"], Tensor]:
        """Own rows and denoising steps of a minibatch, and which of its pairs these are."""
        row, step = pairs // self.ft_denoising_steps, pairs % self.ft_denoising_steps
        if self.own_row is None:
            return row, step, torch.ones_like(row, dtype=torch.bool)
        own = self.own_row[row]
        mine = own >= 0
        return own[mine], step[mine], mine


@dataclass(frozen=True)
class EnvironmentLayout:
    """Which environments are whose.

    Attributes:
        env_ids: All environments, in ascending order.
        own: Position of each own environment within `env_ids`.
    """

    env_ids: Int[np.ndarray, " N_all"]
    own: Int[np.ndarray, " N"]

    @classmethod
    def of(cls, env_ids: Int[np.ndarray, " N"]) -> EnvironmentLayout:
        """Agrees with the other learners on the order.

        Raises:
            ValueError: Two environments carry the same id.
        """
        everyone = np.sort(np.concatenate(collectives.gather(env_ids)))
        if len(np.unique(everyone)) != len(everyone):
            raise ValueError(f"env_ids={everyone.tolist()}: expected distinct ids")
        return cls(everyone, np.searchsorted(everyone, env_ids))

    def gather(self, columns: Shaped[np.ndarray, "T N"]) -> Shaped[np.ndarray, "T N_all"]:
        """The same quantity of all environments, in the agreed order."""
        if len(self.own) == len(self.env_ids):
            whole = np.empty_like(columns)
            whole[:, self.own] = columns
            return whole
        parts = collectives.gather((self.own, columns))
        whole = np.empty((len(columns), len(self.env_ids)), dtype=columns.dtype)
        for own, part in parts:
            whole[:, own] = part
        return whole

    def own_rows(self, chunk_steps: int) -> Int[np.ndarray, " R_all"]:
        """Local row number (`t·N + n`) of every row of all learners, -1 for those of others."""
        column = np.full(len(self.env_ids), -1)
        column[self.own] = np.arange(len(self.own))
        rows = np.arange(chunk_steps)[:, None] * len(self.own) + column
        return np.where(column >= 0, rows, -1).reshape(-1)


def to_device(values: Array, device: torch.device) -> Tensor:
    """A tensor on `device`; what is one is itself, read-only arrays are copied."""
    if isinstance(values, Tensor):
        return values.to(device)
    if not values.flags.writeable:
        values = values.copy()
    return torch.from_numpy(np.ascontiguousarray(values)).to(device)


def flatten_rows(trajectories: Trajectories, device: torch.device) -> dict[str, Tensor]:
    """Observations, chains and log-probabilities with time and environments merged."""
    columns = {f"obs.{k}": v for k, v in trajectories.obs.items()}
    columns |= {"chains": trajectories.chains, "log_probs": trajectories.log_probs}
    return {k: to_device(v, device).flatten(0, 1) for k, v in columns.items()}
