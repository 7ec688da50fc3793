"""Layer 1: networks. `nn.Module`s that know neither Ray nor Gymnasium."""

from dppo_rllib.networks.augmentation import draw_shifts, random_shift
from dppo_rllib.networks.critic import Critic, CriticConfig
from dppo_rllib.networks.eta import Eta, EtaConfig, build_eta
from dppo_rllib.networks.gaussian import GaussianMLP, GaussianMLPConfig
from dppo_rllib.networks.gmm import GMMMLP, GMMMLPConfig
from dppo_rllib.networks.mlp import MLP, DiffusionMLP, DiffusionMLPConfig, ResidualMLP
from dppo_rllib.networks.observation import ObservationEncoder, ObservationSpec, VisionConfig
from dppo_rllib.networks.transformer import (
    GaussianTransformer,
    GaussianTransformerConfig,
    GMMTransformer,
    GMMTransformerConfig,
)
from dppo_rllib.networks.unet1d import UNet1D, UNet1DConfig
from dppo_rllib.networks.vit import SpatialEmbedding, ViT, ViTEncoder

__all__ = [
    "GMMMLP",
    "MLP",
    "Critic",
    "CriticConfig",
    "DiffusionMLP",
    "DiffusionMLPConfig",
    "Eta",
    "EtaConfig",
    "GMMMLPConfig",
    "GMMTransformer",
    "GMMTransformerConfig",
    "GaussianMLP",
    "GaussianMLPConfig",
    "GaussianTransformer",
    "GaussianTransformerConfig",
    "ObservationEncoder",
    "ObservationSpec",
    "ResidualMLP",
    "SpatialEmbedding",
    "UNet1D",
    "UNet1DConfig",
    "ViT",
    "ViTEncoder",
    "VisionConfig",
    "build_eta",
    "draw_shifts",
    "random_shift",
]
