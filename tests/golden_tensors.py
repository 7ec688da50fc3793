"""What the authors' code computed (`tests/golden`), and our networks with its weights."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dppo_rllib.checkpoints.official_file import native_keys
from dppo_rllib.denoising import DenoisingConfig, DenoisingProcess
from dppo_rllib.networks import (
    Critic,
    CriticConfig,
    DiffusionMLP,
    DiffusionMLPConfig,
    ObservationSpec,
    UNet1D,
    UNet1DConfig,
    VisionConfig,
)

GOLDEN = Path(__file__).parent / "golden"
RTOL, ATOL = 1e-4, 1e-5  # float32 in another order of summation
OBS_DIM, ACTION_DIM, HORIZON = 5, 3, 4
MIN_STD = 0.1  # floor of sampling noise and of log-probabilities in every golden model
STATES = "diff/obs"  # the observations of every golden sampling


@cache
def _archive() -> Any:
    return np.load(GOLDEN / "golden.npz")


def golden(key: str) -> Tensor:
    """One array of the authors (decompressed when asked for)."""
    return torch.from_numpy(np.asarray(_archive()[key]))


def golden_keys(prefix: str) -> list[str]:
    """Names of all arrays that start with `prefix`."""
    return [key for key in _archive().files if key.startswith(prefix)]


def golden_layout(name: str) -> list[tuple[str, list[int], int]]:
    """Name, shape and offset of every parameter in a flat golden array."""
    return json.loads((GOLDEN / "golden_index.json").read_text())[name]


def weights(checkpoint: str, prefix: str = "", entry: str | None = None) -> dict[str, Tensor]:
    """State dict of a golden checkpoint: the keys below `prefix`, without it."""
    content = torch.load(GOLDEN / "ckpt" / f"{checkpoint}.pt", weights_only=True)
    state = content if entry is None else content[entry]
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def diffusion_mlp(state: dict[str, Tensor], cond_steps: int = 1, **config: Any) -> DiffusionMLP:
    """The small denoiser of the golden models with the given weights, strictly loaded."""
    network = DiffusionMLP(
        DiffusionMLPConfig(**({"mlp_dims": (32, 32, 32), "time_dim": 8} | config)),
        ObservationSpec(cond_steps * OBS_DIM),
        horizon_steps=HORIZON,
        action_dim=ACTION_DIM,
    )
    network.load_state_dict(native_keys(state), strict=True)
    return network


def critic(state: dict[str, Tensor], **config: Any) -> Critic:
    """The small critic of the golden models with the given weights, strictly loaded."""
    network = Critic(CriticConfig(mlp_dims=(16, 16, 16), **config), ObservationSpec(OBS_DIM))
    network.load_state_dict(native_keys(state), strict=True)
    return network


def vision_spec(num_cameras: int = 1, **vision: Any) -> ObservationSpec:
    """Observations of the golden networks that see pictures of 48 x 48 pixels."""
    values = {"embed_dim": 16, "num_heads": 2, "spatial_emb": 8} | vision
    config = VisionConfig(num_cameras=num_cameras, **values)
    return ObservationSpec(OBS_DIM, (3 * num_cameras, 48, 48), config)


def vision_mlp(state: dict[str, Tensor], spec: ObservationSpec) -> DiffusionMLP:
    """The small denoiser that sees pictures, strictly loaded."""
    config = DiffusionMLPConfig(mlp_dims=(32, 32, 32), time_dim=8, activation="Mish")
    network = DiffusionMLP(config, spec, horizon_steps=HORIZON, action_dim=ACTION_DIM)
    network.load_state_dict(native_keys(state), strict=True)
    return network


def vision_critic(state: dict[str, Tensor]) -> Critic:
    """The small critic that sees pictures, strictly loaded."""
    network = Critic(CriticConfig(mlp_dims=(16, 16, 16)), vision_spec())
    network.load_state_dict(native_keys(state), strict=True)
    return network


def unet1d(state: dict[str, Tensor], spec: ObservationSpec | None = None, **config: Any) -> UNet1D:
    """A small U-Net with the given weights, strictly loaded; it sees pictures if `spec` does."""
    network = UNet1D(
        UNet1DConfig(**({"diffusion_step_embed_dim": 8, "dim": 8, "n_groups": 4} | config)),
        spec or ObservationSpec(OBS_DIM),
        horizon_steps=HORIZON,
        action_dim=ACTION_DIM,
    )
    network.load_state_dict(native_keys(state), strict=True)
    return network


def flat_gradient(network: nn.Module) -> Tensor:
    """All gradients in the order of `named_parameters`."""
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Equality up to the rounding of float32."""
    torch.testing.assert_close(actual, expected, rtol=RTOL, atol=ATOL)


@dataclass(frozen=True)
class GoldenModel:
    """One of the authors' `PPODiffusion` models: its configuration, networks and arrays."""

    name: str
    ft_denoising_steps: int
    config: dict[str, Any] = field(default_factory=dict)
    learned_eta: bool = False

    @cached_property
    def process(self) -> DenoisingProcess:
        return DenoisingProcess(DenoisingConfig(**self.config))

    @cached_property
    def base(self) -> DiffusionMLP:
        return diffusion_mlp(weights(self.name, "actor.", "model"))

    @cached_property
    def actor(self) -> DiffusionMLP:
        return diffusion_mlp(weights(self.name, "actor_ft.", "model"))

    @cached_property
    def eta(self) -> Tensor | None:
        """The learned noise level per action dimension `[1, 1, Da]`, within [0.1, 1]."""
        if not self.learned_eta:
            return None
        logit = weights(self.name, "eta.", "model")["eta_logit"]
        return (0.5 * (torch.tanh(logit) + 1) * (1 - 0.1) + 0.1)[None, None]

    def golden(self, key: str) -> Tensor:
        return golden(f"diff/{self.name}/{key}")


_DDIM_100_5 = {"denoising_steps": 100, "ddim_steps": 5}
MODELS = {
    model.name: model
    for model in (
        GoldenModel("ddpm8_ft4", 4, {"denoising_steps": 8}),
        GoldenModel("ddpm8_ft8", 8, {"denoising_steps": 8}),
        GoldenModel("ddpm20_ft10", 10, {"denoising_steps": 20}),
        GoldenModel("ddpm8_ft4_x0", 4, {"denoising_steps": 8, "predict_epsilon": False}),
        GoldenModel(
            "ddpm8_ft4_noclip",
            4,
            {"denoising_steps": 8, "denoised_clip_value": None, "final_action_clip_value": 1.0},
        ),
        GoldenModel("ddim100_5_ft5", 5, _DDIM_100_5),
        GoldenModel(
            "ddim100_5_ft3_eta.5_epsclip", 3, _DDIM_100_5 | {"eta": 0.5, "eps_clip_value": 1.0}
        ),
        GoldenModel(
            "ddim20_5_ft2_etaaction", 2, {"denoising_steps": 20, "ddim_steps": 5}, learned_eta=True
        ),
    )
}
