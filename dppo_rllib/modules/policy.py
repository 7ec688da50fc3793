"""What every policy is: a function from observation histories to chunks, and its likelihood."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dppo_rllib.denoising import Chain
from dppo_rllib.modules.config_dicts import (
    NetworkTypes,
    build_dataclass,
    network_from_dict,
    network_to_dict,
)
from dppo_rllib.networks import ObservationSpec, VisionConfig

Encoded = dict[str, Tensor]  # what a network makes of observations; a row per observation


@dataclass(frozen=True)
class PolicyConfig:
    """Everything that defines a policy but its weights and its normalisation.

    Attributes:
        kind: Which policy it is, see `policies`.
        network_types: Architectures that its actor can have.
        obs_dim: `Do`, width of one state.
        action_dim: `Da`.
        cond_steps: `To`, states the policy sees, newest last.
        horizon_steps: `Tp`, actions it predicts.
        act_steps: `Ta <= Tp`, actions executed before it looks again.
        image_shape: `(C, H, W)` of one picture, all cameras; None without pictures.
        vision: How pictures are encoded; None without pictures.
        network: Architecture of the actor.

    Raises:
        ValueError: A field is out of range, or fields contradict each other.
    """

    kind: ClassVar[str]
    network_types: ClassVar[NetworkTypes]

    obs_dim: int
    action_dim: int
    cond_steps: int = 1
    horizon_steps: int = 4
    act_steps: int = 4
    image_shape: tuple[int, int, int] | None = None
    vision: VisionConfig | None = None
    network: Any = None

    def __post_init__(self) -> None:
        for name in ("obs_dim", "action_dim", "cond_steps", "horizon_steps", "act_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.act_steps > self.horizon_steps:
            raise ValueError(
                f"act_steps={self.act_steps}: a policy that predicts horizon_steps="
                f"{self.horizon_steps} actions cannot execute more than these"
            )
        types = tuple(config for config, _ in self.network_types.values())
        if not isinstance(self.network, types):
            raise ValueError(
                f"network={self.network!r}: expected one of {[cls.__name__ for cls in types]}"
            )
        self.observation_spec  # noqa: B018  checks pictures

    @property
    def fine_tuned(self) -> bool:
        """There is a fine-tuned actor beside the base."""
        raise NotImplementedError

    @property
    def observation_spec(self) -> ObservationSpec:
        """What its networks see."""
        return ObservationSpec(self.cond_steps * self.obs_dim, self.image_shape, self.vision)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionary (JSON)."""
        network = network_to_dict(self.network, self.network_types)
        return {"kind": self.kind} | dataclasses.asdict(self) | {"network": network}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Any:
        """Inverse of `to_dict`.

        Raises:
            ValueError: A key is unknown or missing.
        """
        values = {k: v for k, v in values.items() if k != "kind"}
        values["network"] = network_from_dict(values.get("network", {}), cls.network_types)
        if (vision := values.get("vision")) is not None:
            values["vision"] = build_dataclass(VisionConfig, vision)
        return build_dataclass(cls, values)

    def build_network(self) -> Any:
        """The actor, with fresh weights."""
        types = self.network_types.values()
        [network] = [network for cls, network in types if isinstance(self.network, cls)]
        return network(
            self.network,
            self.observation_spec,
            horizon_steps=self.horizon_steps,
            action_dim=self.action_dim,
        )


@runtime_checkable
class ChunkPolicy(Protocol):
    """Samples chunks through a chain of Gaussian steps, and scores these steps.

    A policy without inner steps has a chain of one, from nothing (zeros) to the chunk.

    Attributes:
        config: What defines it.
        actor: The base network, frozen once there is a fine-tuned one.
        scheduled: Names of attributes that training anneals.
    """

    config: Any
    actor: nn.Module
    scheduled: tuple[str, ...]

    @property
    def acting(self) -> nn.Module:
        """The network that takes the scored steps: the fine-tuned one if there is one."""

    @property
    def chain_steps(self) -> int:
        """`K'`, scored steps of a chain."""

    def draw_noise(self, batch_size: int, generator: torch.Generator | None = None) -> Tensor:
        """All the randomness of one chunk per row, on the policy's device: `[draws, B, …]`."""

    def sample(
        self,
        obs: dict[str, Tensor],
        *,
        deterministic: bool = False,
        noise: Tensor | None = None,
        score: bool = True,
    ) -> Chain:
        """One chunk per observation history.

        Without `score` nobody looks at log-probabilities: they are NaN where they would cost more
        than sampling does.
        """

    def base_chains(
        self, obs: dict[str, Tensor], rows: Int[Tensor, " B"], noise: Float[Tensor, "draws B ..."]
    ) -> Float[Tensor, "B K_ft_1 Tp Da"]:
        """Chains of the base network alone, of the observations that `rows` counts.

        Each observation is encoded once, for all of its chains.
        """

    def encode(self, obs: dict[str, Tensor]) -> Encoded:
        """What scoring needs of observations; one row serves every step of their chains."""

    def log_prob(
        self,
        encoded: Encoded,
        chain_prev: Float[Tensor, "B Tp Da"],
        chain_next: Float[Tensor, "B Tp Da"],
        ft_index: Int[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Log-probability of single steps of chains (differentiable)."""

    def entropy(self, encoded: Encoded) -> Float[Tensor, " B"]:
        """What an entropy bonus rewards."""

    def draw_bc(self, batch_size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Randomness of the cloning loss of a minibatch, on the generator's device."""

    def bc_loss(
        self,
        network: nn.Module,
        obs: dict[str, Tensor],
        chunk: Float[Tensor, "B Tp Da"],
        draws: dict[str, Tensor],
    ) -> Float[Tensor, " B"]:
        """Cloning loss of each row."""
