"""Layer 1: networks. `nn.Module`s that know neither Ray nor Gymnasium."""

from dppo_rllib.networks.critic import Critic, CriticConfig
from dppo_rllib.networks.mlp import MLP, DiffusionMLP, DiffusionMLPConfig, ResidualMLP
from dppo_rllib.networks.observation import ObservationEncoder, ObservationSpec, VisionConfig

__all__ = [
    "MLP",
    "Critic",
    "CriticConfig",
    "DiffusionMLP",
    "DiffusionMLPConfig",
    "ObservationEncoder",
    "ObservationSpec",
    "ResidualMLP",
    "VisionConfig",
]
