"""Passes over a whole iteration without gradients: values, and log-probabilities anew."""

from __future__ import annotations

import torch
from jaxtyping import Float
from ray.rllib.core.columns import Columns
from torch import Tensor

from dppo_rllib.algorithms.accumulation import balanced_pieces
from dppo_rllib.modules.chunk_module import ChunkRLModule
from dppo_rllib.modules.policy import ChunkPolicy

# Rows of one pass, without pictures and with them.
_ROWS = {False: 8192, True: 512}


@torch.no_grad()
def observation_values(module: ChunkRLModule, obs: dict[str, Tensor]) -> Float[Tensor, " R"]:
    """The critic's value of each observation history."""
    pieces = _pieces(obs)
    return torch.cat([module.compute_values({Columns.OBS: piece}) for _, piece in pieces])


@torch.no_grad()
def chain_log_probs(
    policy: ChunkPolicy, obs: dict[str, Tensor], chains: Float[Tensor, "R K_ft_1 Tp Da"]
) -> Float[Tensor, "R K_ft"]:
    """Log-probabilities of chains under the present policy.

    Args:
        policy: It need not be the one that sampled them.
        obs: Observation histories, one row per chain.
        chains: What to score.
    """
    parts = []
    for piece, observed in _pieces(obs):
        encoded = policy.encode(observed)
        columns = [
            policy.log_prob(
                encoded,
                chains[piece, k],
                chains[piece, k + 1],
                torch.full((len(chains[piece]),), k, device=chains.device),
            )
            for k in range(policy.chain_steps)
        ]
        parts.append(torch.stack(columns, dim=1))
    return torch.cat(parts)


def _pieces(obs: dict[str, Tensor]) -> list[tuple[slice, dict[str, Tensor]]]:
    slices = balanced_pieces(len(obs["state"]), _ROWS["rgb" in obs], threads=1)
    return [(piece, {key: value[piece] for key, value in obs.items()}) for piece in slices]
