"""Layer 3: policies, as plain torch modules and as RLlib's RLModules."""

from dppo_rllib.modules.chunk_module import (
    ChunkRLModule,
    DiffusionRLModule,
    GaussianRLModule,
    GMMRLModule,
)
from dppo_rllib.modules.diffusion_policy import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.modules.gaussian_policy import GaussianPolicy, GaussianPolicyConfig
from dppo_rllib.modules.gmm_policy import GMMPolicy, GMMPolicyConfig
from dppo_rllib.modules.policies import build_policy, policy_config_from_dict

__all__ = [
    "ChunkRLModule",
    "DiffusionPolicy",
    "DiffusionPolicyConfig",
    "DiffusionRLModule",
    "GMMPolicy",
    "GMMPolicyConfig",
    "GMMRLModule",
    "GaussianPolicy",
    "GaussianPolicyConfig",
    "GaussianRLModule",
    "build_policy",
    "policy_config_from_dict",
]
