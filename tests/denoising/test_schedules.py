"""Noise schedules and step tables: against the authors' buffers, and what must hold anyway."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from golden_tensors import assert_close, golden, golden_keys
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dppo_rllib.denoising import NoiseSchedule, StepTable, cosine_schedule, ddim_table, ddpm_table

DDPM_KEYS = golden_keys("sched/K")
DDIM_KEYS = golden_keys("sched/ddim_")
STEPS = st.integers(1, 100)
few_examples = settings(max_examples=30)


@cache
def ddpm_buffers(denoising_steps: int) -> dict[str, list[Tensor]]:
    """The authors' buffers by name, each computed in every way in which we have it."""
    schedule = cosine_schedule(denoising_steps)
    table = ddpm_table(schedule)
    alphas_cumprod, previous = table.alpha_cumprod.flip(0), table.alpha_cumprod_prev.flip(0)
    return {
        "betas": [schedule.betas],
        "alphas": [schedule.alphas],
        "alphas_cumprod": [schedule.alphas_cumprod, alphas_cumprod],
        "alphas_cumprod_prev": [schedule.alphas_cumprod_prev, previous],
        "sqrt_alphas_cumprod": [alphas_cumprod.sqrt()],
        "sqrt_one_minus_alphas_cumprod": [(1 - alphas_cumprod).sqrt()],
        "sqrt_recip_alphas_cumprod": [table.x0_from_x.flip(0)],
        "sqrt_recipm1_alphas_cumprod": [table.x0_from_eps.flip(0)],
        "ddpm_var": [schedule.posterior_variance, table.std.flip(0).square()],
        "ddpm_logvar_clipped": [
            schedule.posterior_variance.log(),
            2 * table.std.flip(0).log(),
        ],
        "ddpm_mu_coef1": [table.mean_from_x0.flip(0)],
        "ddpm_mu_coef2": [table.mean_from_x.flip(0)],
    }


@cache
def ddim_buffers(denoising_steps: int, ddim_steps: int) -> dict[str, list[Tensor]]:
    """As `ddpm_buffers`; the authors flip these themselves, so they are in sampling order.

    Their buffer of sigmas is that of eta = 0 (training computes its own from the learned eta).
    """
    table = ddim_table(cosine_schedule(denoising_steps), ddim_steps, eta=0.0)
    alphas = table.alpha_cumprod
    return {
        "ddim_t": [table.timestep],
        "ddim_alphas": [alphas, 1 / table.x0_from_x.square()],
        "ddim_alphas_sqrt": [alphas.sqrt(), 1 / table.x0_from_x],
        "ddim_alphas_prev": [table.alpha_cumprod_prev],
        "ddim_sqrt_one_minus_alphas": [
            (1 - alphas).sqrt(),
            table.x0_from_eps / table.x0_from_x,
        ],
        "ddim_sigmas": [table.std],
    }


def test_every_golden_schedule_is_compared():
    assert len(DDPM_KEYS) == 6 * 12
    assert len(DDIM_KEYS) == 5 * 6
    assert sorted(DDPM_KEYS + DDIM_KEYS) == sorted(golden_keys("sched/"))


@pytest.mark.parametrize("key", DDPM_KEYS)
def test_ddpm_coefficients_are_the_authors(key):
    _, steps, name = key.split("/")
    for ours in ddpm_buffers(int(steps.removeprefix("K")))[name]:
        assert_close(ours, golden(key))


@pytest.mark.parametrize("key", DDIM_KEYS)
def test_ddim_coefficients_are_the_authors(key):
    _, case, name = key.split("/")
    steps, ddim_steps = map(int, case.removeprefix("ddim_").split("_"))
    for ours in ddim_buffers(steps, ddim_steps)[name]:
        assert_close(ours, golden(key))


@pytest.mark.parametrize("key", [k for k in DDIM_KEYS if k.endswith("ddim_alphas")])
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_mean_is_the_authors_formula_made_affine(key, eta):
    case = key.removesuffix("ddim_alphas")
    steps, ddim_steps = map(int, case.split("/")[1].removeprefix("ddim_").split("_"))
    table = ddim_table(cosine_schedule(steps), ddim_steps, eta)
    x0, x = torch.linspace(-1, 1, ddim_steps), torch.linspace(2, -2, ddim_steps)
    alphas, previous = golden(key), golden(case + "ddim_alphas_prev")
    sigma = eta * ((1 - previous) / (1 - alphas) * (1 - alphas / previous)).sqrt()
    eps = (x - golden(case + "ddim_alphas_sqrt") * x0) / golden(case + "ddim_sqrt_one_minus_alphas")
    mean = previous.sqrt() * x0 + (1 - previous - sigma**2).clamp(min=0).sqrt() * eps
    assert_close(table.mean_from_x0 * x0 + table.mean_from_x * x, mean)
    assert_close(table.std, sigma)


@few_examples
@given(STEPS)
def test_cosine_schedule_only_adds_noise(steps):
    schedule = cosine_schedule(steps)
    assert schedule.betas.dtype == torch.float32
    assert ((schedule.betas > 0) & (schedule.betas <= 0.999)).all()
    assert (schedule.alphas_cumprod.diff() < 0).all()
    assert ((schedule.alphas_cumprod > 0) & (schedule.alphas_cumprod < 1)).all()
    assert schedule.alphas_cumprod_prev[0] == 1


def tables(schedule: NoiseSchedule, ddim_steps: int) -> list[StepTable]:
    return [ddpm_table(schedule), ddim_table(schedule, ddim_steps, 0.5)]


@few_examples
@given(STEPS, st.data())
def test_tables_are_in_sampling_order(steps, data):
    ddim_steps = data.draw(st.integers(1, steps))
    for table in tables(cosine_schedule(steps), ddim_steps):
        assert (table.timestep.diff() < 0).all()
        assert table.timestep[-1] == 0
        assert table.timestep[0] < steps
        assert (table.alpha_cumprod.diff() > 0).all()


@few_examples
@given(STEPS, st.data())
def test_the_last_step_returns_the_predicted_chunk_without_noise(steps, data):
    ddim_steps = data.draw(st.integers(1, steps))
    for table in tables(cosine_schedule(steps), ddim_steps):
        # DDPM's weight is beta / (1 - ā), whose denominator has lost a few digits.
        assert table.mean_from_x0[-1].item() == pytest.approx(1, abs=2e-4)
        assert table.mean_from_x[-1].item() == pytest.approx(0, abs=1e-5)
        assert table.std[-1].item() == pytest.approx(1e-10)


@few_examples
@given(STEPS)
def test_ddim_of_all_steps_at_eta_1_is_ddpm(steps):
    schedule = cosine_schedule(steps)
    ddpm, ddim = ddpm_table(schedule), ddim_table(schedule, steps, eta=1.0)
    assert torch.equal(ddim.timestep, ddpm.timestep)
    # 1 - ā_t / ā_{t-1} cancels to beta, which costs digits where beta is small.
    torch.testing.assert_close(ddim.std, ddpm.std, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ddim.mean_from_x0, ddpm.mean_from_x0, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(ddim.mean_from_x, ddpm.mean_from_x, rtol=1e-3, atol=1e-4)


@few_examples
@given(STEPS, st.floats(0, 1))
def test_ddim_noise_is_proportional_to_eta(steps, eta):
    table = ddim_table(cosine_schedule(steps), steps, eta)
    torch.testing.assert_close(table.std, (eta * table.sigma).clamp(min=1e-10))


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("table", ["ddpm", "ddim"])
def test_a_step_moves_noised_chunks_one_level_down(table, eta):
    """Knowing x_0 and its noise, mean and std are those of `q(x_prev | x_0)`."""
    schedule = cosine_schedule(20)
    table = ddpm_table(schedule) if table == "ddpm" else ddim_table(schedule, 5, eta)
    x0 = 0.7
    signal, noise_std = table.alpha_cumprod.sqrt() * x0, (1 - table.alpha_cumprod).sqrt()
    mean = table.mean_from_x0 * x0 + table.mean_from_x * signal
    variance = (table.mean_from_x * noise_std).square() + table.std.square()
    assert_close(mean, table.alpha_cumprod_prev.sqrt() * x0)
    assert_close(variance, 1 - table.alpha_cumprod_prev)


def test_rows_of_a_batch_meet_chunks():
    table = ddim_table(cosine_schedule(20), 5, 0.5)
    rows = table.at(torch.tensor([4, 0, 2]))
    assert rows.std.shape == (3, 1, 1)
    for row, index in enumerate([4, 0, 2]):
        single = table.at(index)
        assert single.std.shape == ()
        for name in ("timestep", "x0_from_x", "mean_from_x0", "std", "sigma"):
            assert getattr(rows, name)[row].item() == getattr(single, name).item()
