"""Gaussian heads: from an observation to the mean and standard deviation of a chunk.

Attribute names (`mlp_mean`, `mlp_base`, `logvar_min` …) are those of the DPPO authors, so that
their state dicts load without renaming.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dppo_rllib.networks.bounded import Bounded
from dppo_rllib.networks.mlp import MLP, ResidualMLP, activation, build_mlp
from dppo_rllib.networks.observation import ObservationEncoder, ObservationSpec

_STD_KEYS = ("logvar", "logvar_min", "logvar_max")


@dataclass(frozen=True)
class StdConfig:
    """Where the standard deviation of a head comes from; the defaults are the authors'.

    Attributes:
        fixed_std: Standard deviation of every action, constant or where learning starts; None
            makes it depend on the state.
        learn_fixed_std: Learn one standard deviation per action dimension (and mode).
        std_min: Lower bound of a standard deviation that is learned.
        std_max: Upper bound of a standard deviation that is learned.
    """

    fixed_std: float | None = 0.1
    learn_fixed_std: bool = True
    std_min: float = 0.01
    std_max: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.std_min < self.std_max:
            raise ValueError(
                f"std_min={self.std_min}, std_max={self.std_max}: expected 0 < std_min < std_max"
            )
        if self.fixed_std is None:
            if self.learn_fixed_std:
                raise ValueError(
                    "learn_fixed_std=True: expected a fixed_std to start from; with fixed_std=None "
                    "the network gives the standard deviation, set learn_fixed_std=False"
                )
        elif not self.fixed_std > 0:
            raise ValueError(f"fixed_std={self.fixed_std}: expected a positive number, or None")
        elif self.learn_fixed_std and not self.std_min <= self.fixed_std <= self.std_max:
            raise ValueError(
                f"fixed_std={self.fixed_std}: learning starts there, expected a value in "
                f"[std_min, std_max] = [{self.std_min}, {self.std_max}]"
            )


class StdHead(nn.Module):
    """What all heads share: an observation encoder, the chunk's shape, the standard deviation.

    The bounds are buffers because the authors' files carry them; they are never learned, and
    weights that were trained within other bounds are refused.

    Args:
        config: Where the standard deviation comes from.
        spec: Shape of the observations.
        horizon_steps: `Tp`.
        action_dim: `Da`.
        num_modes: Modes with a standard deviation of their own.
    """

    logvar_min: Tensor
    logvar_max: Tensor

    def __init__(
        self,
        config: StdConfig,
        spec: ObservationSpec,
        *,
        horizon_steps: int,
        action_dim: int,
        num_modes: int = 1,
    ):
        super().__init__()
        self.encoder = ObservationEncoder(spec)
        self.horizon_steps, self.action_dim = horizon_steps, action_dim
        self.state_dependent_std = config.fixed_std is None
        self.fixed_std = math.nan if config.fixed_std is None else config.fixed_std
        self.logvar: nn.Parameter | None = None
        if config.fixed_std is not None and config.learn_fixed_std:
            start = 2 * math.log(config.fixed_std)
            self.logvar = nn.Parameter(torch.full((num_modes * action_dim,), start))
        self.register_buffer("logvar_min", torch.tensor(2 * math.log(config.std_min)))
        self.register_buffer("logvar_max", torch.tensor(2 * math.log(config.std_max)))

    def encode(self, obs: dict[str, Tensor]) -> Float[Tensor, "B F"]:
        """Features of observation histories."""
        return self.encoder(obs)

    def std(
        self, mean: Float[Tensor, "B *M Tp Da"], logvar: Float[Tensor, "B *M Tp Da"] | None = None
    ) -> Float[Tensor, "B *M Tp Da"]:
        """Standard deviation of every element of `mean`, in the precision of the weights.

        Args:
            mean: Means.
            logvar: Logarithms of variances that depend on the state; None without such.
        """
        if logvar is None:
            if self.logvar is None:
                return torch.full_like(mean, self.fixed_std, dtype=self.logvar_min.dtype)
            logvar = self.logvar.view(-1, 1, self.action_dim)  # [modes, Tp, Da]
        logvar = logvar.to(self.logvar_min)
        bounded = Bounded.apply(logvar, self.logvar_min, self.logvar_max)
        return torch.exp(0.5 * bounded).expand_as(mean)

    def _load_from_state_dict(  # the hook that torch gives to modules for checks of their own
        self, state_dict: dict[str, Any], prefix: str, *args: Any
    ) -> None:
        for name in ("logvar_min", "logvar_max"):
            own, given = getattr(self, name), state_dict.get(prefix + name)
            if given is not None and not torch.allclose(given.to(own), own, atol=1e-4):
                args[-1].append(
                    f"{prefix}{name}: trained with {name.replace('logvar', 'std')}="
                    f"{math.exp(0.5 * float(given)):.4g}, expected the configured "
                    f"{math.exp(0.5 * float(own)):.4g}"
                )
        super()._load_from_state_dict(state_dict, prefix, *args)


def has_constant_std(config: StdConfig) -> bool:
    """The standard deviation is neither learned nor a function of the state."""
    return config.fixed_std is not None and not config.learn_fixed_std


def with_std_of(network: StdHead, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights `state`, but for the standard deviation and its bounds, which are `network`'s.

    Pre-training keeps the standard deviation constant and fine-tuning learns it, starting from its
    own `fixed_std`: the pre-trained weights have no `logvar`, and other bounds.
    """
    own = {key: value for key, value in network.state_dict().items() if key in _STD_KEYS}
    return {key: value for key, value in state.items() if key not in _STD_KEYS} | own


def check_mlp(
    mlp_dims: tuple[int, ...], activation_type: str, *, residual: bool, is_base: bool = False
) -> None:
    """Checks the hidden layers of a head.

    Args:
        mlp_dims: Hidden widths.
        activation_type: Name of the activation.
        residual: Residual blocks or a plain MLP.
        is_base: The last width is the output of an MLP, on which further layers stand.

    Raises:
        ValueError: There is no such MLP.
    """
    if not mlp_dims or min(mlp_dims) < 1:
        raise ValueError(f"mlp_dims={list(mlp_dims)}: expected positive widths, at least one")
    hidden = mlp_dims[:-1] if is_base else mlp_dims
    if residual and (len(set(hidden)) != 1 or len(hidden) % 2 == 0):
        needs = "an odd number of equal widths, then one" if is_base else "an odd number of equal"
        raise ValueError(f"mlp_dims={list(mlp_dims)}: with residual=True expected {needs}")
    activation(activation_type)


def build_base(
    dims: Sequence[int], activation_type: str, *, residual: bool, use_layernorm: bool
) -> nn.Module:
    """An MLP that ends as a hidden layer does, with (LayerNorm and) the activation."""
    base = build_mlp(dims, activation_type, residual=residual, use_layernorm=use_layernorm)
    norm = [nn.LayerNorm(dims[-1])] if use_layernorm else []
    if isinstance(base, ResidualMLP):
        base.layers.extend([*norm, activation(activation_type)])
    elif isinstance(base, MLP):
        last = base.moduleList[-1]
        for module in norm:
            last.add_module("norm_1", module)
        last.add_module("act_1", activation(activation_type))
    return base


@dataclass(frozen=True)
class GaussianMLPConfig(StdConfig):
    """Architecture of `GaussianMLP`; the defaults are the authors' for Robomimic.

    Attributes:
        fixed_std: Standard deviation of every action, constant or where learning starts; None
            makes it depend on the state.
        learn_fixed_std: Learn one standard deviation per action dimension.
        std_min: Lower bound of a standard deviation that is learned.
        std_max: Upper bound of a standard deviation that is learned.
        mlp_dims: Hidden widths.
        activation: Name of the activation.
        residual: Residual blocks (an odd number of equal widths; with `fixed_std=None` another
            width follows them) or a plain MLP.
        use_layernorm: LayerNorm before activations.
        tanh_output: Means are within [-1, 1].
    """

    mlp_dims: tuple[int, ...] = (512, 512, 512)
    activation: str = "Mish"
    residual: bool = True
    use_layernorm: bool = False
    tanh_output: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mlp(
            self.mlp_dims,
            self.activation,
            residual=self.residual,
            is_base=self.fixed_std is None,
        )


class GaussianMLP(StdHead):
    """MLP from features to the mean of a chunk.

    A standard deviation that depends on the state shares all hidden layers with the mean.

    Args:
        config: Widths, activation and standard deviation.
        spec: Shape of the observations.
        horizon_steps: `Tp`.
        action_dim: `Da`.
    """

    def __init__(
        self,
        config: GaussianMLPConfig,
        spec: ObservationSpec,
        *,
        horizon_steps: int,
        action_dim: int,
    ):
        super().__init__(config, spec, horizon_steps=horizon_steps, action_dim=action_dim)
        self.tanh_output = config.tanh_output
        dims = [self.encoder.feature_dim, *config.mlp_dims]
        chunk_dim = horizon_steps * action_dim
        style: dict[str, Any] = {
            "residual": config.residual,
            "use_layernorm": config.use_layernorm,
        }
        self.mlp_base: nn.Module | None = None
        self.mlp_logvar: nn.Module | None = None
        if config.fixed_std is not None:
            self.mlp_mean = build_mlp([*dims, chunk_dim], config.activation, **style)
        else:
            self.mlp_base = build_base(dims, config.activation, **style)
            self.mlp_mean = MLP([dims[-1], chunk_dim], config.activation)
            self.mlp_logvar = MLP([dims[-1], chunk_dim], config.activation)

    def forward(
        self, features: Float[Tensor, "B F"]
    ) -> tuple[Float[Tensor, "B Tp Da"], Float[Tensor, "B Tp Da"]]:
        """Mean and standard deviation of every action of a chunk."""
        hidden = features if self.mlp_base is None else self.mlp_base(features)
        mean = self._chunk(self.mlp_mean(hidden))
        if self.tanh_output:
            mean = torch.tanh(mean)
        if self.mlp_logvar is None:
            return mean, self.std(mean)
        position = 0.5 * (torch.tanh(self._chunk(self.mlp_logvar(hidden))) + 1)
        logvar = self.logvar_min + (self.logvar_max - self.logvar_min) * position
        return mean, self.std(mean, logvar)

    def _chunk(self, flat: Float[Tensor, "B TpDa"]) -> Float[Tensor, "B Tp Da"]:
        return flat.view(len(flat), self.horizon_steps, self.action_dim)
