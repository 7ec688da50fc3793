"""PPO on policies that draw a chunk at once: the paper's Gaussian and GMM baselines."""

from __future__ import annotations

import dataclasses
from typing import Any

from dppo_rllib.algorithms.one_step_config import OneStepConfig
from dppo_rllib.algorithms.ppo_algorithm import ChunkPPO
from dppo_rllib.algorithms.ppo_config import ChunkPPOConfig
from dppo_rllib.checkpoints import PolicyCheckpoint
from dppo_rllib.modules.chunk_module import GaussianRLModule, GMMRLModule
from dppo_rllib.modules.gaussian_policy import GaussianPolicyConfig
from dppo_rllib.modules.gmm_policy import GMMPolicyConfig
from dppo_rllib.modules.policy import network_from_dict, network_to_dict
from dppo_rllib.networks.gaussian import StdConfig, with_std_of

_STD_FIELDS = {field.name for field in dataclasses.fields(StdConfig)}


class OneStepPPOConfig(ChunkPPOConfig, OneStepConfig):
    """PPO with chains of one step; a base for the two policies that have such.

    A standard deviation that cloning kept constant is learned when fine-tuning, from where it was
    and within the default bounds, or from one of them if it was beyond: `base_policy` brings the
    rest of the architecture along.
    """

    inherited = tuple(name for name in ChunkPPOConfig.inherited if name != "network")

    def _policy_fields(self) -> dict[str, Any]:
        return super()._policy_fields() | {"fine_tuned": True}

    def _take_over(self, policy: Any) -> None:
        super()._take_over(policy)
        network = policy.network
        if not policy.fine_tuned and network.fixed_std is not None:
            start, bounds = network.fixed_std, StdConfig()
            learned = StdConfig(
                fixed_std=start,
                std_min=min(bounds.std_min, start),
                std_max=max(bounds.std_max, start),
            )
            network = dataclasses.replace(network, **vars(learned))
        self.network = network_to_dict(network, self.network_types)

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
        if name not in ("actor", "actor_ft") or not weights or checkpoint.config.fine_tuned:
            return weights
        policy = checkpoint.config
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
