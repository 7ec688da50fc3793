"""Layer 0: the denoising of an action chunk. Tensors only."""

from dppo_rllib.denoising.exact_likelihood import (
    ExactLikelihoodConfig,
    FrozenBase,
    exact_log_likelihood,
)
from dppo_rllib.denoising.process import (
    Chain,
    Denoiser,
    DenoisingConfig,
    DenoisingProcess,
    mean_log_prob,
)
from dppo_rllib.denoising.schedules import (
    NoiseSchedule,
    StepTable,
    cosine_schedule,
    ddim_table,
    ddpm_table,
)

__all__ = [
    "Chain",
    "Denoiser",
    "DenoisingConfig",
    "DenoisingProcess",
    "ExactLikelihoodConfig",
    "FrozenBase",
    "NoiseSchedule",
    "StepTable",
    "cosine_schedule",
    "ddim_table",
    "ddpm_table",
    "exact_log_likelihood",
    "mean_log_prob",
]
