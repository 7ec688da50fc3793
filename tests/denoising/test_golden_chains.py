"""Whole samplings from injected noise against the authors' code."""

from __future__ import annotations

import pytest
import torch
from golden_tensors import (
    HORIZON,
    MIN_STD,
    MODELS,
    STATES,
    GoldenModel,
    assert_close,
    diffusion_mlp,
    golden,
    golden_keys,
    weights,
)

from dppo_rllib.denoising import Chain, DenoisingConfig, DenoisingProcess

MODES = ("sto", "det", "base")
ALL_MODELS = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def sample(model: GoldenModel, mode: str) -> Chain:
    base = model.base
    return model.process.sample(
        base,
        base if mode == "base" else model.actor,
        {"state": golden(STATES)},
        model.golden(f"{mode}/noise"),
        ft_denoising_steps=model.ft_denoising_steps,
        min_sampling_std=MIN_STD,
        min_logprob_std=MIN_STD,
        act_steps=HORIZON,
        deterministic=mode == "det",
        eta=model.eta,
    )


def test_every_golden_sampling_is_compared():
    found = {
        tuple(key.split("/")[1:3])
        for key in golden_keys("diff/")
        if key.endswith(("/noise", "/chains", "/trajectories"))
    }
    assert found == {(name, mode) for name in MODELS for mode in MODES}
    assert len(golden_keys("eval/")) == 5


@ALL_MODELS
@pytest.mark.parametrize("mode", MODES)
def test_chain_is_the_authors(model, mode):
    chain = sample(model, mode)
    assert_close(chain.x, model.golden(f"{mode}/chains"))
    assert_close(chain.chunk, model.golden(f"{mode}/trajectories"))


@ALL_MODELS
def test_log_probs_at_sampling_are_the_authors_clamped_mean(model):
    log_probs = sample(model, "sto").log_probs
    elementwise = model.golden("logprobs_ft").clamp(-5, 2)
    assert_close(log_probs, elementwise.mean(dim=(-2, -1)).view(log_probs.shape))


@pytest.mark.parametrize("case", ["ft4", "pre"])
def test_evaluated_chunk_is_the_authors(case):
    """`DiffusionEval`: noise clipped at 10; the pre-trained model has no fine-tuned steps."""
    if case == "ft4":
        base, actor, ft_steps = MODELS["ddpm8_ft4"].base, MODELS["ddpm8_ft4"].actor, 4
    else:
        base = actor = diffusion_mlp(weights("pretrain_ddpm8", "network.", "model"))
        ft_steps = 0
    chain = DenoisingProcess(DenoisingConfig(denoising_steps=8, randn_clip_value=10.0)).sample(
        base,
        actor,
        {"state": golden(STATES)},
        golden(f"eval/{case}/noise"),
        ft_denoising_steps=ft_steps,
        min_sampling_std=MIN_STD,
        min_logprob_std=MIN_STD,
        act_steps=HORIZON,
        deterministic=True,
    )
    assert_close(chain.chunk, golden(f"eval/{case}/trajectories"))


def test_the_authors_fine_tune_from_the_ema_weights():
    """Recorded fact that importers rely on: a pre-training checkpoint holds two sets."""
    assert bool(golden("eval/ppo_from_pretrain/actor_equals_ema"))
    model, ema = (weights("pretrain_ddpm8", "network.", entry) for entry in ("model", "ema"))
    assert model.keys() == ema.keys()
    assert not all(torch.equal(model[k], ema[k]) for k in model)
