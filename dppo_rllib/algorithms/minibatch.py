"""One minibatch as a learner sees it: its own pairs, and their losses piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from ray.rllib.core.columns import Columns
from torch import Tensor

from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.objective import BC_LOSS, ENTROPY, STATISTICS
from dppo_rllib.algorithms.ppo_loss import normalized_advantages, value_loss
from dppo_rllib.algorithms.teacher_loss import teacher_loss
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.modules.chunk_module import (
    CHAIN_NEXT,
    CHAIN_PREV,
    ENCODED,
    FT_INDEX,
    LOG_PROBS,
    ChunkRLModule,
)
from dppo_rllib.modules.policy import ChunkPolicy, Encoded
from dppo_rllib.modules.precision import autocast

Objective = Callable[..., Tensor]


@dataclass(frozen=True)
class Minibatch:
    """The pairs of a minibatch whose rows a learner owns.

    Attributes:
        data: The iteration that they are of.
        size: Pairs of all learners.
        row: Row of each pair, in ascending order where there are pictures.
        step: Its fine-tuned step.
        advantages: Its advantage, normalized over the pairs of all learners.
        teacher_noise: Noise of the base policy's chain; None without a BC term.
    """

    data: IterationData
    size: int
    row: Int[Tensor, " B"]
    step: Int[Tensor, " B"]
    advantages: Float[Tensor, " B"]
    teacher_noise: Float[Tensor, "draws B ..."] | None

    @classmethod
    def of(
        cls,
        data: IterationData,
        pairs: Int[Tensor, " B_all"],
        config: Any,
        policy: ChunkPolicy,
        generator: torch.Generator,
    ) -> Minibatch:
        """This learner's share of `pairs`; all learners draw the same noise."""
        if data.has_pictures:
            pairs = pairs.sort().values  # those of one observation next to each other
        row, step, mine = data.locate(pairs)
        advantages = normalized_advantages(
            data.advantages[pairs // data.ft_denoising_steps],
            normalize=config.normalize_advantages,
            lower_quantile=config.advantage_clip_lower_quantile,
            upper_quantile=config.advantage_clip_upper_quantile,
        )
        noise = None
        if config.bc_loss_coeff > 0:
            noise = policy.draw_noise(len(pairs), generator)[:, mine]
        return cls(data, len(pairs), row, step, advantages[mine], noise)


class MinibatchLosses:
    """What a piece of a minibatch adds to the losses, which are means over the whole of it.

    Pieces may be passed from several threads at once.

    Args:
        minibatch: The pairs.
        module: Policy and critic.
        config: Weights of the terms, and the precision.
        objective: The actor's, of `batch` and what its forward pass gave (`fwd_out`), see
            `objective.actor_objective`.

    Attributes:
        observed: Distinct rows of the minibatch.
    """

    def __init__(
        self, minibatch: Minibatch, module: ChunkRLModule, config: Any, objective: Objective
    ):
        self._minibatch, self._module, self._config = minibatch, module, config
        self._objective = objective
        self._counts = torch.bincount(minibatch.row, minlength=len(minibatch.data.returns))
        self.observed = self._counts.nonzero().squeeze(1)

    def actor(self, piece: slice, counted: MinibatchStatistics) -> Float[Tensor, ""]:
        """Loss of a piece of the pairs; adds its statistics to `counted`."""
        minibatch, data = self._minibatch, self._minibatch.data
        rows, steps = minibatch.row[piece], minibatch.step[piece]
        policy = self._module.policy
        with autocast(rows.device, self._config.mixed_precision):
            obs, position, encoded = self._encoded(rows)
            batch = {
                ENCODED: encoded,
                CHAIN_PREV: data.chains[rows, steps],
                CHAIN_NEXT: data.chains[rows, steps + 1],
                FT_INDEX: steps,
                LOG_PROBS: data.log_probs[rows, steps],
                Columns.ADVANTAGES: minibatch.advantages[piece],
            }
            fwd_out = self._module.forward_train(batch) | {STATISTICS: counted}
            if minibatch.teacher_noise is not None:
                noise = minibatch.teacher_noise[:, piece]
                fwd_out[BC_LOSS] = teacher_loss(policy, obs, position, encoded, noise)
            if self._config.entropy_coeff > 0:
                fwd_out[ENTROPY] = policy.entropy(encoded)
            return self._objective(batch=batch, fwd_out=fwd_out) / minibatch.size

    def _encoded(
        self, rows: Int[Tensor, " B"]
    ) -> tuple[dict[str, Tensor], Int[Tensor, " B"], Encoded]:
        """Observations, which of them is each row's, and each row's encoded.

        Pictures that several rows share are encoded once.
        """
        data, policy = self._minibatch.data, self._module.policy
        if not data.has_pictures:
            obs = data.observations(rows)
            return obs, torch.arange(len(rows), device=rows.device), policy.encode(obs)
        distinct, position = torch.unique_consecutive(rows, return_inverse=True)
        obs = data.observations(distinct)
        encoded = {key: value[position] for key, value in policy.encode(obs).items()}
        return obs, position, encoded

    def critic(self, piece: slice, counted: MinibatchStatistics) -> Float[Tensor, ""]:
        """Value loss of a piece of `observed`; a row counts once for each pair that shares it."""
        data, config, rows = self._minibatch.data, self._config, self.observed[piece]
        with autocast(rows.device, config.mixed_precision):
            values = self._module.compute_values({Columns.OBS: data.observations(rows)})
        errors = value_loss(values, data.returns[rows], data.values[rows], config.vf_clip_param)
        loss = (errors * self._counts[rows]).sum()
        counted.add(vf_loss=loss)
        return config.vf_loss_coeff * loss / self._minibatch.size
