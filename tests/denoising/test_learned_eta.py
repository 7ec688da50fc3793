"""DDIM with a noise level that is learned: its chains, log-probabilities and gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from golden_tensors import (
    ACTION_DIM,
    HORIZON,
    MIN_STD,
    MODELS,
    OBS_DIM,
    STATES,
    assert_close,
    golden,
    weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dppo_rllib.denoising import Chain, Denoiser, DenoisingConfig, DenoisingProcess
from dppo_rllib.networks import DiffusionMLP, DiffusionMLPConfig, ObservationSpec
from dppo_rllib.networks.eta import Eta, EtaConfig, build_eta

MODEL = MODELS["ddim20_5_ft2_etaaction"]
KINDS = ("fixed", "action", "state", "state_action")
DDIM = DenoisingConfig(denoising_steps=20, ddim_steps=5)
BATCH = 6


def learned(kind: str, *, base_eta: float = 0.6, seed: int = 0) -> Eta:
    """A noise level that has moved away from its start, by row and action where it can."""
    torch.manual_seed(seed)
    config = EtaConfig(kind=kind, base_eta=base_eta, mlp_dims=(8,), activation="Mish")
    eta = build_eta(config, cond_dim=OBS_DIM, action_dim=ACTION_DIM)
    for parameter in eta.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    level = eta({"state": golden(STATES)})
    assert ((level > 0.1) & (level < 1)).all()  # off the bounds, where slopes are one-sided
    return eta


def actor(seed: int) -> DiffusionMLP:
    torch.manual_seed(seed)
    return DiffusionMLP(
        DiffusionMLPConfig(mlp_dims=(16,), time_dim=4, activation="Mish"),
        ObservationSpec(OBS_DIM),
        horizon_steps=HORIZON,
        action_dim=ACTION_DIM,
    )


class SmoothDenoiser:
    """A denoiser of float64 (the time embedding of the networks is float32)."""

    def embed_time(self, timesteps: Tensor) -> Tensor:
        return timesteps[:, None].double() / 20

    def encode(self, obs: dict[str, Tensor]) -> Tensor:
        return obs["state"].flatten(1)

    def __call__(self, x: Tensor, time_embedding: Tensor, features: Tensor) -> Tensor:
        return torch.tanh(x + time_embedding[..., None] + features.mean(1)[:, None, None])


def sample(
    process: DenoisingProcess,
    eta: Eta,
    ft_steps: int,
    *,
    act_steps: int = HORIZON,
    min_std: float = MIN_STD,
    deterministic: bool = False,
) -> Chain:
    obs = {"state": golden(STATES)}
    generator = torch.Generator().manual_seed(0)
    return process.sample(
        actor(1),
        actor(2),
        obs,
        process.draw_noise((BATCH, HORIZON, ACTION_DIM), generator=generator),
        ft_denoising_steps=ft_steps,
        min_sampling_std=min_std,
        min_logprob_std=min_std,
        act_steps=act_steps,
        deterministic=deterministic,
        eta=eta(obs),
    )


def log_prob_of_pairs(
    process: DenoisingProcess,
    eta: Eta,
    chain: Chain,
    pairs: Tensor,
    *,
    network: Denoiser | None = None,
    act_steps: int = HORIZON,
    min_std: float = MIN_STD,
) -> Tensor:
    """Log-probabilities of gathered (row, fine-tuned step) pairs, as in a minibatch."""
    network = network or actor(2)
    ft_steps = chain.x.shape[1] - 1
    row, ft_index = pairs // ft_steps, pairs % ft_steps
    obs = {"state": golden(STATES).to(chain.x.dtype)}
    return process.transition_log_prob(
        network,
        network.encode(obs)[row],
        chain.x[row, ft_index],
        chain.x[row, ft_index + 1],
        ft_index + process.config.sampler_steps - ft_steps,
        min_logprob_std=min_std,
        act_steps=act_steps,
        eta=eta(obs)[row],
    )


# The authors' chain


def golden_eta() -> Eta:
    eta = build_eta(EtaConfig(kind="action"), cond_dim=OBS_DIM, action_dim=ACTION_DIM)
    eta.load_state_dict(weights(MODEL.name, "eta.", "model"), strict=True)
    return eta


@pytest.mark.parametrize("mode", ["sto", "det"])
def test_chain_with_the_loaded_noise_level_is_the_authors(mode):
    obs = {"state": golden(STATES)}
    chain = MODEL.process.sample(
        MODEL.base,
        MODEL.actor,
        obs,
        MODEL.golden(f"{mode}/noise"),
        ft_denoising_steps=2,
        min_sampling_std=MIN_STD,
        min_logprob_std=MIN_STD,
        act_steps=HORIZON,
        deterministic=mode == "det",
        eta=golden_eta()(obs),
    )
    assert_close(chain.x, MODEL.golden(f"{mode}/chains"))
    if mode == "sto":
        elementwise = MODEL.golden("logprobs_ft").clamp(-5, 2)
        assert_close(chain.log_probs, elementwise.mean(dim=(-2, -1)).view(BATCH, 2))


@pytest.mark.parametrize("act_steps", [1, HORIZON])
def test_log_probs_of_gathered_rows_are_the_authors(act_steps):
    x = MODEL.golden("sto/chains")
    pairs = 2 * torch.arange(BATCH) + MODEL.golden("sub_inds")
    log_probs = log_prob_of_pairs(
        MODEL.process,
        golden_eta(),
        Chain(x, x.new_zeros(BATCH, 2)),
        pairs,
        network=MODEL.actor,
        act_steps=act_steps,
    )
    official = MODEL.golden("logprobs_sub")[:, :act_steps].clamp(-5, 2)
    assert_close(log_probs, official.mean(dim=(-2, -1)))
    level = golden_eta()({"state": golden(STATES)})
    assert_close(level.expand(MODEL.golden("eta_sub").shape), MODEL.golden("eta_sub"))


# Every kind, number of fine-tuned steps and sampler


@st.composite
def processes(draw: st.DrawFn) -> DenoisingProcess:
    steps = draw(st.integers(1, 12))
    return DenoisingProcess(
        DenoisingConfig(
            denoising_steps=steps,
            ddim_steps=draw(st.integers(1, steps)),
            predict_epsilon=draw(st.booleans()),
            denoised_clip_value=draw(st.sampled_from([None, 1.0])),
            eps_clip_value=draw(st.sampled_from([None, 0.5])),
            final_action_clip_value=draw(st.sampled_from([None, 0.8])),
        )
    )


@settings(max_examples=60)
@given(processes(), st.sampled_from(KINDS), st.integers(1, HORIZON), st.data())
def test_the_importance_ratio_starts_at_one(process, kind, act_steps, data):
    ft_steps = data.draw(st.integers(1, process.config.sampler_steps))
    eta = learned(kind)
    chain = sample(process, eta, ft_steps, act_steps=act_steps)
    pairs = torch.randperm(BATCH * ft_steps)
    log_probs = log_prob_of_pairs(process, eta, chain, pairs, act_steps=act_steps)
    ratio = torch.exp(log_probs - chain.log_probs.flatten()[pairs])
    torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_is_sampled_with_its_own_noise_level(kind):
    """Draws of one size move each element by its own standard deviation, or the floor."""
    eta, process, floor = learned(kind), DenoisingProcess(DDIM), 0.05
    obs = {"state": golden(STATES)}
    for step in range(5):
        quiet = torch.zeros(6, BATCH, HORIZON, ACTION_DIM)
        loud = quiet.clone()
        loud[step + 1] = 1.5
        first, second = (
            process.sample(
                actor(1),
                actor(2),
                obs,
                noise,
                ft_denoising_steps=5,
                min_sampling_std=floor,
                min_logprob_std=floor,
                act_steps=HORIZON,
                eta=eta(obs),
            ).x[:, step + 1]
            for noise in (quiet, loud)
        )
        std = (eta(obs) * process.table.sigma[step]).clamp(min=floor)
        assert_close(second - first, (1.5 * std).expand_as(first))


@pytest.mark.parametrize("kind", KINDS)
def test_acting_greedily_ignores_the_noise_level(kind):
    process = DenoisingProcess(DDIM)
    chains = [sample(process, learned(kind, seed=s), 3, deterministic=True).x for s in (0, 1)]
    assert torch.equal(*chains)


def test_ddpm_has_no_noise_level_to_learn():
    with pytest.raises(ValueError, match="only DDIM has a noise level"):
        sample(DenoisingProcess(DenoisingConfig(denoising_steps=5)), learned("action"), 3)


# Gradients


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("eps_clip", [None, 1.0])
@pytest.mark.parametrize("predict_epsilon", [True, False])
def test_gradients_of_the_noise_level_are_the_finite_differences(kind, eps_clip, predict_epsilon):
    config = replace(DDIM, eps_clip_value=eps_clip, predict_epsilon=predict_epsilon)
    process, eta = DenoisingProcess(config), learned(kind).double()
    chain = sample(process, learned(kind), 5, min_std=1e-3)
    chain = Chain(chain.x.double(), chain.log_probs)
    network, pairs = SmoothDenoiser(), torch.arange(BATCH * 5)
    names = [name for name, _ in eta.named_parameters()]

    def log_probs(*parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))

        def with_parameters(obs: dict[str, Tensor]) -> Tensor:
            return torch.func.functional_call(eta, given, (obs,))

        return log_prob_of_pairs(
            process, with_parameters, chain, pairs, network=network, min_std=1e-3
        )

    assert torch.autograd.gradcheck(log_probs, tuple(eta.parameters()), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_noise_level_acts_through_the_mean_and_through_the_deviation(kind):
    process, eta = DenoisingProcess(DDIM), learned(kind)
    obs, index = {"state": golden(STATES)}, torch.tensor([0, 1, 2, 3, 0, 1])
    x, output = torch.randn(2, BATCH, HORIZON, ACTION_DIM)
    mean, std = process.mean_std(x, output, index, eta=eta(obs))
    for moment in (mean, std):
        grads = torch.autograd.grad(moment.sum(), list(eta.parameters()), retain_graph=True)
        assert all(grad.isfinite().all() for grad in grads)
        assert any(grad.abs().max() > 1e-3 for grad in grads)


@pytest.mark.parametrize("kind", KINDS)
def test_the_last_step_has_no_noise_to_learn_and_a_finite_gradient(kind):
    """There the share of eps is √0, whose slope is infinite."""
    process, eta = DenoisingProcess(DDIM), learned(kind)
    chain = sample(process, eta, 1)
    log_prob_of_pairs(process, eta, chain, torch.arange(BATCH)).sum().backward()
    assert all((parameter.grad == 0).all() for parameter in eta.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_a_floored_deviation_leaves_the_gradient_of_the_mean(kind):
    process, eta = DenoisingProcess(DDIM), learned(kind)
    chain = sample(process, eta, 3, min_std=0.9)
    pairs = torch.arange(BATCH * 3)
    log_prob_of_pairs(process, eta, chain, pairs, min_std=0.9).sum().backward()
    floored = [parameter.grad.clone() for parameter in eta.parameters()]
    assert all(grad.isfinite().all() for grad in floored)
    assert any(grad.abs().max() > 0 for grad in floored)
