"""Gaussian mixtures: from an observation to the modes of a chunk and their weights.

Attribute names (`mlp_mean`, `mlp_weights` …) are those of the DPPO authors.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dppo_rllib.networks.gaussian import StdConfig, StdHead, check_mlp
from dppo_rllib.networks.mlp import build_mlp
from dppo_rllib.networks.observation import ObservationSpec


def check_modes(num_modes: int) -> None:
    """Checks the number of modes.

    Raises:
        ValueError: It is not positive.
    """
    if num_modes < 1:
        raise ValueError(f"num_modes={num_modes}: expected at least 1")


@dataclass(frozen=True)
class GMMMLPConfig(StdConfig):
    """Architecture of `GMMMLP`; the defaults are the authors' for Robomimic.

    Attributes:
        fixed_std: Standard deviation of every action, constant or where learning starts; None
            makes it depend on the state.
        learn_fixed_std: Learn one standard deviation per mode and action dimension.
        std_min: Lower bound of a standard deviation that is learned.
        std_max: Upper bound of a standard deviation that is learned.
        mlp_dims: Hidden widths.
        activation: Name of the activation.
        residual: Residual blocks (an odd number of equal widths) or a plain MLP.
        use_layernorm: LayerNorm before activations.
        num_modes: `M`.
    """

    mlp_dims: tuple[int, ...] = (512, 512, 512)
    activation: str = "Mish"
    residual: bool = True
    use_layernorm: bool = False
    num_modes: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mlp(self.mlp_dims, self.activation, residual=self.residual)
        check_modes(self.num_modes)


class GMMMLP(StdHead):
    """MLPs of equal shape for means, weights and, if they depend on the state, deviations.

    Args:
        config: Widths, activation, modes and standard deviation.
        spec: Shape of the observations.
        horizon_steps: `Tp`.
        action_dim: `Da`.
    """

    def __init__(
        self,
        config: GMMMLPConfig,
        spec: ObservationSpec,
        *,
        horizon_steps: int,
        action_dim: int,
    ):
        super().__init__(
            config,
            spec,
            horizon_steps=horizon_steps,
            action_dim=action_dim,
            num_modes=config.num_modes,
        )

        def mlp(out: int) -> nn.Module:
            return build_mlp(
                [self.encoder.feature_dim, *config.mlp_dims, out],
                config.activation,
                residual=config.residual,
                use_layernorm=config.use_layernorm,
            )

        self.num_modes = config.num_modes
        modes_dim = config.num_modes * horizon_steps * action_dim
        self.mlp_mean = mlp(modes_dim)
        self.mlp_logvar = mlp(modes_dim) if config.fixed_std is None else None
        self.mlp_weights = mlp(config.num_modes)

    def forward(
        self, features: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B M Tp Da"], Float[Tensor, "B M Tp Da"], Float[Tensor, "B M"]]:
        """Means and standard deviations of the modes, and the logits of their weights."""
        means = torch.tanh(self._modes(self.mlp_mean(features)))
        logvars = None if self.mlp_logvar is None else self._modes(self.mlp_logvar(features))
        return means, self.std(means, logvars), self.mlp_weights(features)

    def _modes(self, flat: Float[Tensor, "B MTpDa"]) -> Float[Tensor, "B M Tp Da"]:
        return flat.view(len(flat), self.num_modes, self.horizon_steps, self.action_dim)
