"""Pre-training of policies that draw a chunk at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from dppo_rllib.algorithms.bc import ChunkBC, ChunkBCConfig
from dppo_rllib.algorithms.one_step_config import OneStepConfig
from dppo_rllib.modules.gaussian_policy import GaussianPolicyConfig
from dppo_rllib.modules.gmm_policy import GMMPolicyConfig


class GaussianBCConfig(ChunkBCConfig, OneStepConfig):
    """Configuration of `GaussianBC`; the standard deviation is constant by default."""

    policy_kind = "gaussian"
    network_types = GaussianPolicyConfig.network_types
    network_defaults: ClassVar[Mapping[str, Any]] = {"learn_fixed_std": False}

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or GaussianBC)
        self.randn_clip_value = 3.0


class GMMBCConfig(ChunkBCConfig, OneStepConfig):
    """Configuration of `GMMBC`; standard deviations are constant by default."""

    policy_kind = "gmm"
    network_types = GMMPolicyConfig.network_types
    network_defaults: ClassVar[Mapping[str, Any]] = {"learn_fixed_std": False}

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or GMMBC)


class GaussianBC(ChunkBC):
    """Behaviour cloning of a Gaussian policy by maximum likelihood.

    One training iteration is one epoch over the demonstrations.
    """

    @classmethod
    def get_default_config(cls) -> GaussianBCConfig:
        """`GaussianBCConfig()`."""
        return GaussianBCConfig()


class GMMBC(ChunkBC):
    """Behaviour cloning of a mixture of Gaussians by maximum likelihood.

    One training iteration is one epoch over the demonstrations.
    """

    @classmethod
    def get_default_config(cls) -> GMMBCConfig:
        """`GMMBCConfig()`."""
        return GMMBCConfig()
