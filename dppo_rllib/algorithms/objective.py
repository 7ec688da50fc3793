"""The actor's objective over a piece of a minibatch."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from ray.rllib.core.columns import Columns
from torch import Tensor

from dppo_rllib.algorithms.ppo_loss import policy_loss
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.modules.chunk_module import FT_INDEX, LOG_PROBS

# What the objective gets beside the log-probabilities of `forward_train`.
STATISTICS, BC_LOSS, ENTROPY = "statistics", "bc_loss", "entropy"


def actor_objective(
    batch: dict[str, Any],
    fwd_out: dict[str, Any],
    clip_ranges: Float[Tensor, " K_ft"],
    discounts: Float[Tensor, " K_ft"],
    config: Any,
) -> Float[Tensor, ""]:
    """Policy loss, BC term and entropy bonus, summed over the rows; counts their statistics.

    Args:
        batch: `ft_index`, `log_probs` and `advantages` of the rows.
        fwd_out: Log-probabilities under the present weights, the statistics to add to, and the
            BC loss and entropy of each row where they are used.
        clip_ranges: Of each step of a chain.
        discounts: Of the advantage at each step.
        config: Gives the weights of the terms.
    """
    step = batch[FT_INDEX]
    statistics: MinibatchStatistics = fwd_out[STATISTICS]
    terms = policy_loss(
        fwd_out[LOG_PROBS],
        batch[LOG_PROBS],
        batch[Columns.ADVANTAGES] * discounts[step],
        clip_ranges[step],
    )
    loss = terms.loss.sum()
    statistics.add(policy_loss=loss, mean_kl_loss=terms.approx_kl, ratio=terms.ratio)
    statistics.add_clipped(terms.clipped, step)
    if BC_LOSS in fwd_out:
        bc_loss = fwd_out[BC_LOSS].sum()
        loss = loss + config.bc_loss_coeff * bc_loss
        statistics.add(bc_loss=bc_loss)
    if ENTROPY in fwd_out:
        entropy = fwd_out[ENTROPY].sum()
        loss = loss - config.entropy_coeff * entropy
        statistics.add(entropy=entropy)
    return loss
