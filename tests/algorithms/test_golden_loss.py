"""The objective and its gradients against the authors' code, on 32 rows each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from dppo_rllib.algorithms.iteration_data import IterationData

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "hopper": ("ddpm8_ft4", {"clip_param": 0.01, "clip_param_base": 0.01}),
    "clipsched": (
        "ddpm8_ft4",
        {"gamma_denoising": 0.9, "clip_param": 0.2, "clip_param_base": 0.01, "act_steps": 2},
    ),
    "quantile_vclip": (
        "ddpm8_ft4",
        {
            "gamma_denoising": 0.95,
            "clip_param": 0.1,
            "clip_param_base": 0.1,
            "clip_param_rate": 1,
            "advantage_clip_lower_quantile": 0.1,
            "advantage_clip_upper_quantile": 0.9,
            "vf_clip_param": 0.2,
            "act_steps": 3,
        },
    ),
    "nonorm": (
        "ddpm8_ft4",
        {
            "clip_param": 0.3,
            "clip_param_base": 0.001,
            "clip_param_rate": 2,
            "normalize_advantages": False,
            "act_steps": 1,
        },
    ),
    "fullft": ("ddpm8_ft8", {"clip_param": 0.1, "clip_param_base": 0.001}),
    "x0": (
        "ddpm8_ft4_x0",
        {"clip_param": 0.1, "clip_param_base": 0.01, "predict_epsilon": False},
    ),
    "ddim": ("ddim100_5_ft5", {"clip_param": 0.01, "clip_param_base": 0.001}),
    "ddim_ft3": (
        "ddim100_5_ft3_eta.5_epsclip",
        {
            "gamma_denoising": 0.9,
            "clip_param": 0.1,
            "clip_param_base": 0.01,
            "eta": 0.5,
            "eps_clip_value": 1.0,
        },
    ),
    "bc": ("ddpm8_ft4", {"clip_param": 0.01, "clip_param_base": 0.01, "bc_loss_coeff": 0.1}),
}
STEPS = {
    "ddpm8_ft4": {"denoising_steps": 8, "ft_denoising_steps": 4},
    "ddpm8_ft8": {"denoising_steps": 8, "ft_denoising_steps": 8},
    "ddpm8_ft4_x0": {"denoising_steps": 8, "ft_denoising_steps": 4},
    "ddim100_5_ft5": {"denoising_steps": 100, "ddim_steps": 5, "ft_denoising_steps": 5},
    "ddim100_5_ft3_eta.5_epsclip": {
        "denoising_steps": 100,
        "ddim_steps": 5,
        "ft_denoising_steps": 3,
    },
}


def one_row_per_pair(golden: Any, case: str, steps: int, act_steps: int) -> IterationData:
    """The golden rows as iteration data in which row i holds pair (i, its denoising step)."""

    def get(name: str) -> torch.Tensor:
        return torch.from_numpy(golden[f"loss/{case}/{name}"])

    rows, index = torch.arange(32), get("denoising_inds")
    chains = torch.zeros(32, steps + 1, 4, 3)
    chains[rows, index], chains[rows, index + 1] = get("chains_prev"), get("chains_next")
    log_probs = torch.zeros(32, steps)
    old = get("oldlogprobs").clamp(-5, 2)[:, :act_steps]
    log_probs[rows, index] = old.mean(dim=(1, 2))
    return IterationData(
        obs={"state": get("obs")},
        chains=chains,
        log_probs=log_probs,
        values=get("oldvalues"),
        returns=get("returns"),
        advantages=get("advantages"),
        own_row=None,
    )


@pytest.mark.parametrize(("microbatch_size", "learner_threads"), [(None, 1), (5, 1), (5, 3)])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_are_those_of_the_authors(
    case: str, microbatch_size: int | None, learner_threads: int, golden: Any, make_learner: Any
) -> None:
    checkpoint, settings = CASES[case]
    sizes = {"microbatch_size": microbatch_size, "learner_threads": learner_threads}
    learner = make_learner(checkpoint, **STEPS[checkpoint], **settings, **sizes)
    module = learner.module[DEFAULT_MODULE_ID]
    if case == "bc":
        inject_teacher_noise(learner, torch.from_numpy(golden["loss/bc/bc_noise"]))
    steps = STEPS[checkpoint]["ft_denoising_steps"]
    data = one_row_per_pair(golden, case, steps, settings.get("act_steps", 4))
    pairs = torch.arange(32) * steps + torch.from_numpy(golden[f"loss/{case}/denoising_inds"])

    stats = learner._accumulate(data, pairs, torch.Generator()).means(32)

    pg_loss, _, v_loss, clip_fraction, kl, ratio, bc_loss, _ = golden[f"loss/{case}/out"]
    policy, mean_kl, mean_ratio, value, bc = stats[:5].tolist()
    np.testing.assert_allclose(
        [policy, mean_kl, mean_ratio, value], [pg_loss, kl, ratio, v_loss], rtol=1e-4, atol=1e-5
    )
    if case == "bc":
        np.testing.assert_allclose(bc, bc_loss, rtol=1e-4)
    counts = torch.bincount(torch.from_numpy(golden[f"loss/{case}/denoising_inds"]))
    overall = (stats[6:][: len(counts)] * counts).sum() / 32
    np.testing.assert_allclose(overall, clip_fraction, atol=1e-6)
    for network, name in ((module.policy.actor_ft, "actor_ft"), (module.critic, "critic")):
        gradient = torch.cat([p.grad.flatten() for p in network.parameters()])
        expected = golden[f"loss/{case}/grad_{name}"]
        # The authors' gradients count the value loss with weight 0.5, as the default does.
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-4, atol=1e-5)


def inject_teacher_noise(learner: Any, noise: torch.Tensor) -> None:
    """Deals the recorded teacher noise out to the microbatches in turn."""
    position = 0

    def draw(rows: int, generator: Any = None) -> torch.Tensor:
        nonlocal position
        position += rows
        return noise[:, position - rows : position]

    learner.module[DEFAULT_MODULE_ID].policy.draw_noise = draw
