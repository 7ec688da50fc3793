"""State-value networks."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from dppo_rllib.networks.mlp import build_mlp
from dppo_rllib.networks.observation import ObservationEncoder, ObservationSpec


@dataclass(frozen=True)
class CriticConfig:
    """Architecture of `Critic`; the defaults are the authors'.

    Attributes:
        mlp_dims: Hidden widths.
        activation: Name of the activation.
        residual: Residual blocks or a plain MLP.
        use_layernorm: LayerNorm before activations.
    """

    mlp_dims: tuple[int, ...] = (256, 256, 256)
    activation: str = "Mish"
    residual: bool = True
    use_layernorm: bool = False


class Critic(nn.Module):
    """`V(s)` of an observation history (`Q1` is the authors' name of the MLP).

    Args:
        config: Widths and activation.
        spec: Shape of the observations.
    """

    def __init__(self, config: CriticConfig, spec: ObservationSpec):
        super().__init__()
        self.encoder = ObservationEncoder(spec)
        self.Q1 = build_mlp(
            [self.encoder.feature_dim, *config.mlp_dims, 1],
            config.activation,
            residual=config.residual,
            use_layernorm=config.use_layernorm,
        )

    def forward(self, obs: dict[str, Tensor]) -> Float[Tensor, " B"]:
        """Values of observation histories."""
        return self.Q1(self.encoder(obs)).squeeze(-1)
