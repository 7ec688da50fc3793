"""State-value networks."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from dppo_rllib.networks.mlp import build_mlp


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
    """`V(s)` of the flattened state history (`Q1` is the authors' name of the MLP).

    Args:
        config: Widths and activation.
        cond_dim: `To * Do`.
    """

    def __init__(self, config: CriticConfig, *, cond_dim: int):
        super().__init__()
        self.Q1 = build_mlp(
            [cond_dim, *config.mlp_dims, 1],
            config.activation,
            residual=config.residual,
            use_layernorm=config.use_layernorm,
        )

    def forward(self, obs: dict[str, Tensor]) -> Float[Tensor, " B"]:
        """Values of observation histories `{"state": [B, To, Do]}`."""
        return self.Q1(obs["state"].flatten(1)).squeeze(-1)
