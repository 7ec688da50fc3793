"""The kinds of policies there are."""

from __future__ import annotations

from typing import Any

from dppo_rllib.modules.diffusion_policy import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.modules.exact_diffusion_policy import (
    ExactDiffusionPolicy,
    ExactDiffusionPolicyConfig,
)
from dppo_rllib.modules.gaussian_policy import GaussianPolicy, GaussianPolicyConfig
from dppo_rllib.modules.gmm_policy import GMMPolicy, GMMPolicyConfig
from dppo_rllib.modules.policy import PolicyConfig

KINDS: dict[str, tuple[Any, Any]] = {
    "diffusion": (DiffusionPolicyConfig, DiffusionPolicy),
    "exact_diffusion": (ExactDiffusionPolicyConfig, ExactDiffusionPolicy),
    "gaussian": (GaussianPolicyConfig, GaussianPolicy),
    "gmm": (GMMPolicyConfig, GMMPolicy),
}


def policy_config_from_dict(values: dict[str, Any]) -> PolicyConfig:
    """Inverse of any policy configuration's `to_dict`; without a kind it is a diffusion policy.

    Raises:
        ValueError: The kind or a key is unknown, or a key is missing.
    """
    kind = values.get("kind", "diffusion")
    if kind not in KINDS:
        raise ValueError(f"kind={kind!r}: expected one of {sorted(KINDS)}")
    return KINDS[kind][0].from_dict(values)


def build_policy(config: PolicyConfig) -> Any:
    """The policy that a configuration describes, with fresh weights."""
    return KINDS[config.kind][1](config)
