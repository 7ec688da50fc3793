"""PPO on policies that draw a chunk at once: the paper's Gaussian and GMM baselines."""

from __future__ import annotations

import dataclasses
from typing import Any

from dppo_rllib.algorithms.one_step_config import OneStepConfig
from dppo_rllib.algorithms.ppo_algorithm import ChunkPPO
from dppo_rllib.algorithms.ppo_config import ChunkPPOConfig
from dppo_rllib.checkpoints import PolicyCheckpoint
from dppo_rllib.modules.chunk_module import GaussianRLModule, GMMRLModule
from dppo_rllib.modules.config_dicts import network_from_dict
from dppo_rllib.modules.gaussian_policy import GaussianPolicyConfig
from dppo_rllib.modules.gmm_policy import GMMPolicyConfig
from dppo_rllib.networks.gaussian import StdConfig, has_constant_std, with_std_of

_STD_FIELDS = {field.name for field in dataclasses.fields(StdConfig)}


class OneStepPPOConfig(ChunkPPOConfig, OneStepConfig):
    """PPO with chains of one step; a base for the two policies that have such.

    A standard deviation that cloning kept constant is learned when fine-tuning, from where it was
    and within the default bounds, which widen to its half or double if it lies beyond them. One
    that was learned is learned further; `base_policy` brings it and the rest of the architecture.
    """

    inherited = tuple(name for name in ChunkPPOConfig.inherited if name != "network")

    def _policy_fields(self) -> dict[str, Any]:
        return super()._policy_fields() | {"fine_tuned": True}

    def _take_over(self, policy: Any) -> None:
        super()._take_over(policy)
        network = policy.network
        if not policy.fine_tuned and has_constant_std(network):
            start, bounds = network.fixed_std, StdConfig()
            network = dataclasses.replace(
                network,
                learn_fixed_std=True,
                std_min=bounds.std_min if start > bounds.std_min else start / 2,
                std_max=bounds.std_max if start < bounds.std_max else start * 2,
            )
        self._set({"network": network})

    def validate(self) -> None:
        """Checks all settings and how they fit together, before anything is built.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        super().validate()
        network = network_from_dict(self.network, self.network_types)
        if self.entropy_coeff > 0 and network.fixed_std and not network.learn_fixed_std:
            raise ValueError(
                f"entropy_coeff={self.entropy_coeff}: the entropy is constant with "
                f"network.fixed_std={network.fixed_std}; set learn_fixed_std, or entropy_coeff=0"
            )

    def _validate_base_policy(self, checkpoint: PolicyCheckpoint) -> None:
        super()._validate_base_policy(checkpoint)
        policy = checkpoint.config
        own = self.policy_config(policy.obs_dim, policy.action_dim, policy.image_shape).network
        theirs = policy.network
        fixed = {f.name for f in dataclasses.fields(theirs)} - _STD_FIELDS
        for name in fixed if type(own) is type(theirs) else ["__class__"]:
            if getattr(own, name) != getattr(theirs, name):
                raise ValueError(
                    f"network={own}: base_policy={self.base_policy} was made with {theirs}"
                )
        if (own.fixed_std is None) != (theirs.fixed_std is None):
            raise ValueError(
                f"network.fixed_std={own.fixed_std}: base_policy={self.base_policy} was made with "
                f"{theirs.fixed_std}; a state-dependent standard deviation is another architecture"
            )
        for name in () if has_constant_std(theirs) else ("learn_fixed_std", "std_min", "std_max"):
            if getattr(own, name) != getattr(theirs, name):
                raise ValueError(
                    f"network.{name}={getattr(own, name)}: base_policy={self.base_policy} has "
                    f"learned its standard deviation with {name}={getattr(theirs, name)}"
                )


class GaussianPPOConfig(OneStepPPOConfig):
    """Configuration of `GaussianPPO`; the network's defaults are the authors' for Robomimic."""

    policy_kind = "gaussian"
    network_types = GaussianPolicyConfig.network_types
    module_class = GaussianRLModule
    base_kinds = ("gaussian",)

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or GaussianPPO)
        self.randn_clip_value = 3.0


class GMMPPOConfig(OneStepPPOConfig):
    """Configuration of `GMMPPO`; the network's defaults are the authors' for Robomimic.

    Log-probabilities are means over the numbers of a chunk, as for every other policy; the
    authors' are sums here, so that their clip ranges mean something else.
    """

    policy_kind = "gmm"
    network_types = GMMPolicyConfig.network_types
    module_class = GMMRLModule
    base_kinds = ("gmm",)

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or GMMPPO)


class OneStepPPO(ChunkPPO):
    """PPO on a policy that draws a chunk at once."""

    def _base_component(self, checkpoint: PolicyCheckpoint, name: str) -> dict[str, Any]:
        weights = super()._base_component(checkpoint, name)
        policy = checkpoint.config
        if name not in ("actor", "actor_ft") or not weights or not has_constant_std(policy.network):
            return weights
        own = self.config.policy_config(policy.obs_dim, policy.action_dim, policy.image_shape)
        return with_std_of(own.build_network(), weights)


class GaussianPPO(OneStepPPO):
    """PPO on Gaussian policies (DPPO, Sec. 5.2)."""

    @classmethod
    def get_default_config(cls) -> GaussianPPOConfig:
        """`GaussianPPOConfig()`."""
        return GaussianPPOConfig()


class GMMPPO(OneStepPPO):
    """PPO on mixtures of Gaussians (DPPO, Sec. 5.2)."""

    @classmethod
    def get_default_config(cls) -> GMMPPOConfig:
        """`GMMPPOConfig()`."""
        return GMMPPOConfig()
