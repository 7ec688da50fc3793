"""The gradients of one minibatch, whatever pieces, threads and learners they are summed over."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from dppo_rllib.algorithms.accumulation import accumulate_gradients
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.learner_support import sum_gradients
from dppo_rllib.algorithms.minibatch import Minibatch, MinibatchLosses, Objective
from dppo_rllib.algorithms.piece_sizes import PieceSizes
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.modules.chunk_module import ChunkRLModule


class MinibatchGradients:
    """Leaves the gradients of minibatches in the parameters of actor and critic.

    Args:
        module: Policy and critic.
        config: Of the algorithm.
        device: The learner's.
        threads: CPU threads that take pieces; None leaves one piece to torch's own threads.
        objective: The actor's, see `MinibatchLosses`.
    """

    def __init__(
        self,
        module: ChunkRLModule,
        config: Any,
        device: torch.device,
        threads: int | None,
        objective: Objective,
    ):
        self._module, self._config, self._device = module, config, device
        self._objective = objective
        self.threads = threads if device.type == "cpu" else None
        self.sizes = PieceSizes(module, device, config.microbatch_size)

    def accumulate(
        self,
        data: IterationData,
        pairs: Tensor,
        generator: torch.Generator,
        *,
        actor: list[nn.Parameter],
        critic: list[nn.Parameter],
    ) -> MinibatchStatistics:
        """Gradients of a minibatch, summed over learners, in place of those there were.

        Args:
            data: The iteration.
            pairs: Of all learners.
            generator: In the same state on all learners.
            actor: What the actor's loss is differentiated by; none only counts statistics.
            critic: The same of the value loss.

        Returns:
            Sums over the rows of all learners.
        """
        minibatch = Minibatch.of(data, pairs, self._config, self._module.policy, generator)
        losses = MinibatchLosses(minibatch, self._module, self._config, self._objective)
        statistics = MinibatchStatistics(data.ft_denoising_steps, self._device)
        for parameter in (*actor, *critic):
            parameter.grad = None
        for name, loss_of, rows, parameters in (
            ("actor", losses.actor, len(minibatch.row), actor),
            ("critic", losses.critic, len(losses.observed), critic),
        ):
            uncounted = functools.partial(loss_of, counted=statistics.empty())
            size = self.sizes.rows(name, uncounted, rows)
            accumulate_gradients(loss_of, rows, size, parameters, statistics, self.threads)
        sum_gradients([*actor, *critic], statistics.sums)
        return statistics
