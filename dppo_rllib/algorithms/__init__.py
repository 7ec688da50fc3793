"""Layer 5: algorithms as RLlib runs them."""

from dppo_rllib.algorithms.diffusion_bc import DiffusionBC, DiffusionBCConfig
from dppo_rllib.algorithms.dppo import DPPO
from dppo_rllib.algorithms.dppo_config import DPPOConfig

__all__ = ["DPPO", "DPPOConfig", "DiffusionBC", "DiffusionBCConfig"]
