"""Layer 3: policies, as plain torch modules and as RLlib's RLModules."""

from dppo_rllib.modules.diffusion_module import DiffusionRLModule
from dppo_rllib.modules.policy import DiffusionPolicy, PolicyConfig

__all__ = ["DiffusionPolicy", "DiffusionRLModule", "PolicyConfig"]
