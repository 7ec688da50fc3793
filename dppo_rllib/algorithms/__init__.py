"""Layer 5: algorithms as RLlib runs them."""

from dppo_rllib.algorithms.diffusion_bc import DiffusionBC, DiffusionBCConfig
from dppo_rllib.algorithms.dppo import DPPO, DPPOConfig
from dppo_rllib.algorithms.exact_dppo import ExactDPPO, ExactDPPOConfig
from dppo_rllib.algorithms.gaussian_bc import GMMBC, GaussianBC, GaussianBCConfig, GMMBCConfig
from dppo_rllib.algorithms.gaussian_ppo import (
    GMMPPO,
    GaussianPPO,
    GaussianPPOConfig,
    GMMPPOConfig,
)

__all__ = [
    "DPPO",
    "GMMBC",
    "GMMPPO",
    "DPPOConfig",
    "DiffusionBC",
    "DiffusionBCConfig",
    "ExactDPPO",
    "ExactDPPOConfig",
    "GMMBCConfig",
    "GMMPPOConfig",
    "GaussianBC",
    "GaussianBCConfig",
    "GaussianPPO",
    "GaussianPPOConfig",
]
