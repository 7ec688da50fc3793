"""What an update is judged by: losses, KL, clip fractions; summed over pieces and learners."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

_MEANS = ("policy_loss", "mean_kl_loss", "ratio", "vf_loss", "bc_loss", "entropy")


class MinibatchStatistics:
    """Sums over the rows of one minibatch.

    They lie in one tensor, `sums`, so that learners add theirs in one reduction.

    Args:
        ft_denoising_steps: `K'`.
        device: The learner's.
    """

    def __init__(self, ft_denoising_steps: int, device: torch.device):
        self.ft_denoising_steps = ft_denoising_steps
        self.sums: Float[Tensor, " M"] = torch.zeros(
            len(_MEANS) + 2 * ft_denoising_steps, device=device
        )
        _, self._clipped, self._counts = self.sums.split(
            [len(_MEANS), ft_denoising_steps, ft_denoising_steps]
        )

    def add(self, **rows: Tensor) -> None:
        """Adds rows, or their sum, of the quantities named."""
        for name, value in rows.items():
            self.sums[_MEANS.index(name)] += value.detach().sum()

    def add_clipped(self, clipped: Float[Tensor, " B"], ft_index: Int[Tensor, " B"]) -> None:
        """Counts for each denoising step how many ratios left the clip range."""
        self._clipped.index_add_(0, ft_index, clipped)
        self._counts.index_add_(0, ft_index, torch.ones_like(clipped))

    def empty(self) -> MinibatchStatistics:
        """Others of the same kind, in which nothing is counted yet."""
        return MinibatchStatistics(self.ft_denoising_steps, self.sums.device)

    def merge(self, other: MinibatchStatistics) -> None:
        """Adds what was counted elsewhere."""
        self.sums += other.sums

    def mean_kl(self, rows: int) -> float:
        """KL from the policy that sampled, over the `rows` of the minibatch."""
        return float(self.sums[_MEANS.index("mean_kl_loss")]) / rows

    def means(self, rows: int) -> Float[Tensor, " L"]:
        """Per-row means, then the clip fraction of each denoising step."""
        fractions = self._clipped / self._counts.clamp(min=1)
        return torch.cat([self.sums[: len(_MEANS)] / rows, fractions])


def update_figures(means: Float[Tensor, "U L"], **coefficients: float) -> dict[str, float]:
    """Figures for the log from `MinibatchStatistics.means` of all minibatches of an update.

    Args:
        means: A row per minibatch.
        coefficients: Weight of each term beside the policy loss; one of weight 0 is not reported.
    """
    mean = means.mean(dim=0).tolist()
    figures = dict(zip(_MEANS, mean, strict=False))
    fractions = mean[len(_MEANS) :]
    figures["total_loss"] = figures["policy_loss"]
    for name, coefficient in coefficients.items():
        figures["total_loss"] += coefficient * figures[name]
        if coefficient == 0:
            del figures[name]
    figures["max_kl"] = float(means[:, _MEANS.index("mean_kl_loss")].max())
    figures["clip_fraction"] = sum(fractions) / len(fractions)
    return figures | {f"clip_fraction_step_{k}": value for k, value in enumerate(fractions)}
