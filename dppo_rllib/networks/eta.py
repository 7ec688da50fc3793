"""DDIM's noise level eta as a parameter: one number, one per action dimension, or of the state.

Attribute names (`eta_logit`, `mlp_res`) are those of the DPPO authors, so that their state dicts
load without renaming.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dppo_rllib.networks.bounded import Bounded
from dppo_rllib.networks.mlp import ACTIVATIONS, MLP

_BY_LOGIT, _BY_STATE = ("fixed", "action"), ("state", "state_action")


@dataclass(frozen=True)
class EtaConfig:
    """A noise level of DDIM and how it learns.

    Attributes:
        kind: "fixed", one number; "action", one per action dimension; "state", a function of the
            state; "state_action", such a function per action dimension.
        base_eta: Where it starts, or stays.
        min_eta: Lower bound.
        max_eta: Upper bound.
        learnable: Whether it is trained; a constant may lie on a bound.
        mlp_dims: Hidden widths of a function of the state.
        activation: Activation of a function of the state.

    Raises:
        ValueError: A field is out of its range, or nothing could be learned from `base_eta`.
    """

    kind: str = "action"
    base_eta: float = 0.5
    min_eta: float = 0.1
    max_eta: float = 1.0
    learnable: bool = True
    mlp_dims: tuple[int, ...] = (256, 256)
    activation: str = "ReLU"

    def __post_init__(self) -> None:
        if self.kind not in _BY_LOGIT + _BY_STATE:
            raise ValueError(f"kind={self.kind!r}: expected one of {_BY_LOGIT + _BY_STATE}")
        if not 0 < self.min_eta < math.inf:
            raise ValueError(f"min_eta={self.min_eta}: expected a positive number")
        if not self.min_eta < self.max_eta < math.inf:
            raise ValueError(
                f"max_eta={self.max_eta}: expected more than min_eta={self.min_eta}, and finite"
            )
        if not self.min_eta <= self.base_eta <= self.max_eta:
            raise ValueError(
                f"base_eta={self.base_eta}: expected a value in [{self.min_eta}, {self.max_eta}]"
            )
        on_bound = self.base_eta in (self.min_eta, self.max_eta)
        if self.learnable and on_bound and self.kind in _BY_LOGIT:
            raise ValueError(
                f"base_eta={self.base_eta}: kind={self.kind!r} cannot learn from a bound, where "
                f"tanh has no slope; expected a value between {self.min_eta} and {self.max_eta}, "
                "or learnable=False"
            )
        if not self.mlp_dims or min(self.mlp_dims) < 1:
            raise ValueError(
                f"mlp_dims={list(self.mlp_dims)}: expected positive widths, at least one"
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation!r}: expected one of {sorted(ACTIVATIONS)}"
            )


class LogitEta(nn.Module):
    """A noise level that does not depend on the observation: tanh of a logit, on [min, max].

    Args:
        config: Range and start.
        width: 1, or `Da` for one level per action dimension.
    """

    def __init__(self, config: EtaConfig, width: int):
        super().__init__()
        self.min, self.max = config.min_eta, config.max_eta
        share = 2 * (config.base_eta - self.min) / (self.max - self.min) - 1
        logit = math.atanh(share) if abs(share) < 1 else math.copysign(math.inf, share)
        self.eta_logit = nn.Parameter(torch.full((width,), logit), config.learnable)
        self.register_load_state_dict_post_hook(_refuse_logits_that_cannot_learn)

    def forward(self, obs: dict[str, Tensor]) -> Float[Tensor, "B 1 #Da"]:
        """The noise level of every row, to meet chunks `[B, Tp, Da]`."""
        eta = 0.5 * (torch.tanh(self.eta_logit) + 1) * (self.max - self.min) + self.min
        return eta.expand(len(obs["state"]), 1, -1)


def _refuse_logits_that_cannot_learn(module: LogitEta, _: Any) -> None:
    # The authors store their constant eta of 1 as an infinite logit.
    logit = module.eta_logit
    if logit.requires_grad and not logit.isfinite().all():
        raise ValueError(
            f"eta_logit={logit.tolist()}: these weights hold a noise level on a bound, which "
            "cannot learn; expected finite logits, or learnable=False"
        )


class StateEta(nn.Module):
    """A noise level from the state: `base_eta` plus tanh of an MLP, bounded to [min, max].

    The last layer starts at zero, so that training starts from `base_eta` itself.

    Args:
        config: Range, start and MLP.
        cond_dim: Length of the flattened state history.
        width: 1, or `Da` for one level per action dimension.
    """

    def __init__(self, config: EtaConfig, cond_dim: int, width: int):
        super().__init__()
        self.base, self.min, self.max = config.base_eta, config.min_eta, config.max_eta
        self.mlp_res = MLP([cond_dim, *config.mlp_dims, width], config.activation)
        for parameter in self.mlp_res.moduleList[-1].parameters():
            nn.init.zeros_(parameter)
        self.requires_grad_(config.learnable)

    def forward(self, obs: dict[str, Tensor]) -> Float[Tensor, "B 1 #Da"]:
        """The noise level of every row, to meet chunks `[B, Tp, Da]`."""
        residual = torch.tanh(self.mlp_res(obs["state"].flatten(1)))
        return Bounded.apply(self.base + residual, self.min, self.max)[:, None]


Eta = LogitEta | StateEta  # what `build_eta` gives


def build_eta(config: EtaConfig, *, cond_dim: int, action_dim: int) -> Eta:
    """The noise level of `config.kind`.

    Its `forward(obs)` gives `[B, 1, 1]`, or `[B, 1, Da]` per action dimension: the `eta` of
    `DenoisingProcess.sample` and, gathered by row, of `transition_log_prob`.

    Args:
        config: Kind, range and start.
        cond_dim: `To * Do`, length of the flattened state history.
        action_dim: `Da`.
    """
    width = action_dim if config.kind in ("action", "state_action") else 1
    if config.kind in _BY_LOGIT:
        return LogitEta(config, width)
    return StateEta(config, cond_dim, width)
