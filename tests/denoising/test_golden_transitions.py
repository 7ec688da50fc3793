"""Single denoising steps against the authors' code: means, deviations, log-probabilities."""

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
    golden,
    golden_keys,
)
from torch import Tensor

from dppo_rllib.networks import DiffusionMLP

ALL_MODELS = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
MOMENTS = ("ft", "base", "det")
LOG_PROBS = ("ft", "base", "sub")


def output(model: GoldenModel, net: DiffusionMLP, x: Tensor, obs: Tensor, index: Tensor) -> Tensor:
    time = net.embed_time(model.process.table.timestep)[index]
    return net(x, time, net.encode({"state": obs}))


def transitions(model: GoldenModel, case: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Observation, chunk, next chunk and sampler step of each row of `logprobs_{case}`."""
    chains, obs = model.golden("sto/chains"), golden(STATES)
    ft_steps = model.ft_denoising_steps
    if case == "sub":
        ft_index, row = model.golden("sub_inds"), torch.arange(len(obs))
    else:
        ft_index = torch.arange(ft_steps).repeat(len(obs))
        row = torch.arange(len(obs)).repeat_interleave(ft_steps)
    index = model.process.config.sampler_steps - ft_steps + ft_index
    return obs[row], chains[row, ft_index], chains[row, ft_index + 1], index


def test_every_golden_transition_is_compared():
    moments = {
        f"{name}/pmv/{key}"
        for name in MODELS
        for key in ["x", "obs", "t", "index"]
        + [f"{case}/{value}" for case in MOMENTS for value in ("mu", "logvar", "eta")]
    }
    log_probs = {f"{name}/logprobs_{case}" for name in MODELS for case in LOG_PROBS}
    subsample = {f"{name}/{key}" for name in MODELS for key in ("sub_inds", "eta_sub")}
    chains = {
        f"{name}/{mode}/{key}"
        for name in MODELS
        for mode in ("sto", "det", "base")
        for key in ("noise", "chains", "trajectories")
    }
    found = {key.removeprefix("diff/") for key in golden_keys("diff/")}
    assert found == moments | log_probs | subsample | chains | {"obs"}


@ALL_MODELS
def test_sampler_steps_have_the_authors_timesteps(model):
    timesteps = model.process.table.timestep
    assert torch.equal(timesteps[model.golden("pmv/index")], model.golden("pmv/t"))


@ALL_MODELS
@pytest.mark.parametrize("case", MOMENTS)
def test_mean_and_deviation_are_the_authors(model, case):
    x, obs, index = (model.golden(f"pmv/{key}") for key in ("x", "obs", "index"))
    predicted = output(model, model.base, x, obs, index)
    if case != "base":
        fine_tuned = index >= model.process.config.sampler_steps - model.ft_denoising_steps
        by_actor = output(model, model.actor, x, obs, index)
        predicted = torch.where(fine_tuned[:, None, None], by_actor, predicted)
    mean, std = model.process.mean_std(
        x, predicted, index, deterministic=case == "det", eta=model.eta
    )
    assert_close(mean, model.golden(f"pmv/{case}/mu"))
    log_variance = model.golden(f"pmv/{case}/logvar")
    assert_close(std.expand(log_variance.shape).log() * 2, log_variance)


@ALL_MODELS
def test_one_step_for_all_rows_is_the_same_as_one_per_row(model):
    x, obs, index = (model.golden(f"pmv/{key}") for key in ("x", "obs", "index"))
    predicted = output(model, model.base, x, obs, index)
    mean, std = model.process.mean_std(x, predicted, index, eta=model.eta)
    for step in range(model.process.config.sampler_steps):
        rows = index == step
        row_mean, row_std = model.process.mean_std(x[rows], predicted[rows], step, eta=model.eta)
        assert_close(row_mean, mean[rows])
        assert_close(row_std.expand(std[rows].shape), std[rows])


@ALL_MODELS
def test_noise_level_is_the_authors(model):
    eta = torch.tensor(model.process.config.eta) if model.eta is None else model.eta
    for key in ("pmv/ft/eta", "pmv/base/eta", "eta_sub"):
        assert_close(eta.expand(model.golden(key).shape), model.golden(key))
    greedy = model.golden("pmv/det/eta")  # DDPM has no eta: the authors report a constant 1
    is_ddim = model.process.config.ddim_steps is not None
    assert_close(torch.full_like(greedy, 0.0 if is_ddim else 1.0), greedy)


def test_learned_noise_level_is_the_authors_tanh():
    eta = MODELS["ddim20_5_ft2_etaaction"].eta
    official = golden("net/eta_action/out")
    assert_close(eta[0].expand(official.shape), official)


@ALL_MODELS
@pytest.mark.parametrize("case", LOG_PROBS)
def test_transition_is_the_authors_gaussian(model, case):
    """The authors' arrays are elementwise and unclamped."""
    obs, x, x_next, index = transitions(model, case)
    network = model.base if case == "base" else model.actor
    predicted = output(model, network, x, obs, index)
    mean, std = model.process.mean_std(x, predicted, index, eta=model.eta)
    gaussian = torch.distributions.Normal(mean, std.clamp(min=MIN_STD).expand_as(mean))
    assert_close(gaussian.log_prob(x_next), model.golden(f"logprobs_{case}"))


@ALL_MODELS
@pytest.mark.parametrize("case", LOG_PROBS)
@pytest.mark.parametrize("act_steps", [1, HORIZON])
def test_log_prob_is_the_authors_clamped_mean_over_executed_actions(model, case, act_steps):
    obs, x, x_next, index = transitions(model, case)
    network = model.base if case == "base" else model.actor
    log_prob = model.process.transition_log_prob(
        network,
        network.encode({"state": obs}),
        x,
        x_next,
        index,
        min_logprob_std=MIN_STD,
        act_steps=act_steps,
        eta=model.eta,
    )
    official = model.golden(f"logprobs_{case}")[:, :act_steps].clamp(-5, 2)
    assert_close(log_prob, official.mean(dim=(-2, -1)))
