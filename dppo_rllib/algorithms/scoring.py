"""Passes over a whole iteration without gradients: values, and log-probabilities anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from ray.rllib.core.columns import Columns
from torch import Tensor

from dppo_rllib.algorithms.accumulation import balanced_pieces
from dppo_rllib.algorithms.augmentation import shift_pictures
from dppo_rllib.modules.chunk_module import ChunkRLModule
from dppo_rllib.modules.precision import autocast

# Rows of one pass, without pictures and with them.
_ROWS = {False: 8192, True: 512}


class Scoring:
    """What policy and critic make of an iteration before they learn from it.

    Args:
        module: Policy and critic.
        config: Whether pictures are shifted, and the precision.
        device: The learner's.
    """

    def __init__(self, module: ChunkRLModule, config: Any, device: torch.device):
        self._module, self._config, self._device = module, config, device

    @torch.no_grad()
    def values(self, obs: dict[str, Tensor]) -> Float[Tensor, " R"]:
        """The critic's value of each observation history."""
        with autocast(self._device, self._config.mixed_precision):
            parts = [
                self._module.compute_values({Columns.OBS: observed}) for _, observed in _pieces(obs)
            ]
        return torch.cat(parts)

    def rescore(
        self,
        obs: dict[str, Tensor],
        chains: Float[Tensor, "R K_ft_1 Tp Da"],
        own_rows: Int[np.ndarray, " R_all"],
        *,
        seed: int,
    ) -> tuple[dict[str, Tensor], Float[Tensor, "R K_ft"]]:
        """Observations to learn from, and log-probabilities on them of the policy that acted.

        That is the present one: as it would have acted on shifted pictures, and, in bfloat16, as
        it is computed here. Kernels for the few rows of a runner may round otherwise, by as much
        as a clip range.

        Args:
            obs: Observation histories, one row per chain.
            chains: What the policy has sampled for them.
            own_rows: Which own row each of all rows is, -1 for those of other learners.
            seed: Of the shifts.
        """
        if self._config.augment:
            generator = torch.Generator().manual_seed(seed)
            obs = obs | {"rgb": shift_pictures(obs["rgb"], own_rows, generator)}
        with autocast(self._device, self._config.mixed_precision):
            return obs, self._log_probs(obs, chains)

    @torch.no_grad()
    def _log_probs(
        self, obs: dict[str, Tensor], chains: Float[Tensor, "R K_ft_1 Tp Da"]
    ) -> Float[Tensor, "R K_ft"]:
        policy, parts = self._module.policy, []
        for piece, observed in _pieces(obs):
            encoded, chain = policy.encode(observed), chains[piece]
            columns = [
                policy.log_prob(
                    encoded,
                    chain[:, k],
                    chain[:, k + 1],
                    torch.full((len(chain),), k, device=chain.device),
                )
                for k in range(policy.chain_steps)
            ]
            parts.append(torch.stack(columns, dim=1))
        return torch.cat(parts)


def _pieces(obs: dict[str, Tensor]) -> list[tuple[slice, dict[str, Tensor]]]:
    slices = balanced_pieces(len(obs["state"]), _ROWS["rgb" in obs], threads=1)
    return [(piece, {key: value[piece] for key, value in obs.items()}) for piece in slices]
