"""What holds for every sampling and every log-probability, whatever the configuration."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from functools import cache

import pytest
import torch
from golden_tensors import assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dppo_rllib.denoising import Chain, DenoisingConfig, DenoisingProcess, mean_log_prob
from dppo_rllib.networks import DiffusionMLP, DiffusionMLPConfig, ObservationSpec

BATCH, HORIZON, ACTION_DIM, OBS_DIM = 3, 4, 2, 3
few_examples = settings(max_examples=15)


@cache
def network(seed: int) -> DiffusionMLP:
    """A small denoiser; other seeds give other weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return DiffusionMLP(
            DiffusionMLPConfig(mlp_dims=(16,), time_dim=4),
            ObservationSpec(OBS_DIM),
            horizon_steps=HORIZON,
            action_dim=ACTION_DIM,
        )


BASE, ACTOR = network(0), network(1)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


OBS = {"state": randn(BATCH, 1, OBS_DIM, seed=7)}


def draw(process: DenoisingProcess, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return process.draw_noise((BATCH, HORIZON, ACTION_DIM), generator=generator)


def sample(
    process: DenoisingProcess,
    noise: Tensor,
    ft_denoising_steps: int,
    *,
    base: DiffusionMLP = BASE,
    actor: DiffusionMLP = ACTOR,
    min_std: float = 0.1,
    act_steps: int = HORIZON,
    deterministic: bool = False,
    eta: Tensor | None = None,
) -> Chain:
    return process.sample(
        base,
        actor,
        OBS,
        noise,
        ft_denoising_steps=ft_denoising_steps,
        min_sampling_std=min_std,
        min_logprob_std=0.1,
        act_steps=act_steps,
        deterministic=deterministic,
        eta=eta,
    )


@st.composite
def configs(draw: st.DrawFn) -> DenoisingConfig:
    steps = draw(st.integers(1, 12))
    ddim_steps = draw(st.none() | st.integers(1, steps))
    return DenoisingConfig(
        denoising_steps=steps,
        ddim_steps=ddim_steps,
        eta=1.0 if ddim_steps is None else draw(st.sampled_from([0.0, 0.5, 1.0])),
        predict_epsilon=draw(st.booleans()),
        denoised_clip_value=draw(st.sampled_from([0.5, 1.0])),
        eps_clip_value=None if ddim_steps is None else draw(st.sampled_from([None, 1.0])),
        final_action_clip_value=draw(st.sampled_from([None, 0.8])),
    )


@st.composite
def cases(draw: st.DrawFn) -> tuple[DenoisingProcess, int]:
    """A process and a number `K'` of fine-tuned steps, 0 and all included."""
    process = DenoisingProcess(draw(configs()))
    return process, draw(st.integers(0, process.config.sampler_steps))


def processes(*, only_ddim: bool = False) -> list[DenoisingProcess]:
    ddim = [
        DenoisingConfig(denoising_steps=20, ddim_steps=4, eta=0.5),
        DenoisingConfig(denoising_steps=20, ddim_steps=4, eta=0.5, eps_clip_value=1.0),
    ]
    return [DenoisingProcess(c) for c in ([] if only_ddim else [DenoisingConfig(4)]) + ddim]


# Sampling


@few_examples
@given(cases(), st.booleans())
def test_chain_is_reproducible_from_injected_noise(case, deterministic):
    process, ft_steps = case
    first, second = (
        sample(process, draw(process), ft_steps, deterministic=deterministic) for _ in range(2)
    )
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.log_probs, second.log_probs)


@few_examples
@given(cases(), st.booleans())
def test_chain_holds_the_chunk_before_the_first_fine_tuned_step_and_after_each(case, greedy):
    process, ft_steps = case
    chain = sample(process, draw(process), ft_steps, deterministic=greedy)
    assert chain.x.shape == (BATCH, ft_steps + 1, HORIZON, ACTION_DIM)
    assert chain.log_probs.shape == (BATCH, ft_steps)
    assert torch.equal(chain.chunk, chain.x[:, -1])
    assert chain.x.isfinite().all()


@few_examples
@given(cases())
def test_chain_is_the_tail_of_a_longer_chain_of_the_same_network(case):
    process, ft_steps = case
    noise = draw(process)
    whole = sample(process, noise, process.config.sampler_steps, base=ACTOR)
    part = sample(process, noise, ft_steps, base=ACTOR)
    assert torch.equal(part.x, whole.x[:, -ft_steps - 1 :])
    first = process.config.sampler_steps - ft_steps
    assert_close(part.log_probs, whole.log_probs[:, first:])


@few_examples
@given(configs())
def test_without_fine_tuned_steps_the_actor_does_not_matter(config):
    process = DenoisingProcess(config)
    chain = sample(process, draw(process), 0)
    assert torch.equal(chain.x, sample(process, draw(process), 0, actor=BASE).x)


@few_examples
@given(configs())
def test_with_all_steps_fine_tuned_the_base_does_not_matter(config):
    process = DenoisingProcess(config)
    noise, steps = draw(process), config.sampler_steps
    chain = sample(process, noise, steps)
    assert torch.equal(chain.x, sample(process, noise, steps, base=ACTOR).x)
    assert torch.equal(chain.x[:, 0], noise[0])


@few_examples
@given(cases())
def test_base_takes_the_first_steps_and_the_actor_the_rest(case):
    process, ft_steps = case
    noise = draw(process)
    by_base = sample(process, noise, process.config.sampler_steps, actor=BASE)
    chain = sample(process, noise, ft_steps)
    assert torch.equal(chain.x[:, 0], by_base.x[:, -ft_steps - 1])
    if ft_steps:
        with pytest.raises(AssertionError):
            torch.testing.assert_close(chain.x[:, 1], by_base.x[:, -ft_steps])


@pytest.mark.parametrize("process", processes())
def test_rows_are_sampled_independently(process):
    noise = draw(process)
    changed = torch.cat([noise[:, :1] + 1, noise[:, 1:]], dim=1)
    chain, other = sample(process, noise, 2), sample(process, changed, 2)
    assert_close(chain.x[1:], other.x[1:])
    assert not torch.equal(chain.x[0], other.x[0])


@pytest.mark.parametrize("process", processes())
def test_row_i_plus_1_of_the_noise_belongs_to_step_i(process):
    steps = process.config.sampler_steps
    chain = sample(process, draw(process), steps)
    for step in range(steps):
        noise = draw(process)
        noise[step + 1] += 1
        other = sample(process, noise, steps)
        assert torch.equal(other.x[:, : step + 1], chain.x[:, : step + 1])
        assert not torch.equal(other.x[:, step + 1], chain.x[:, step + 1])


@pytest.mark.parametrize("process", processes())
@pytest.mark.parametrize("min_std", [1e-6, 0.05, 2.0])
def test_exploration_noise_has_the_samplers_deviation_or_its_floor(process, min_std):
    """Two samplings that differ in the draw of one step differ by std times that draw."""
    steps = process.config.sampler_steps
    for step in range(steps):
        quiet = draw(process)
        quiet[step + 1] = 0
        loud = quiet.clone()
        loud[step + 1] = 1.5
        first, second = (sample(process, n, steps, min_std=min_std) for n in (quiet, loud))
        std = max(process.table.std[step].item(), min_std)
        difference = second.x[:, step + 1] - first.x[:, step + 1]
        assert_close(difference, torch.full_like(difference, 1.5 * std))


@pytest.mark.parametrize("process", processes())
def test_step_noise_is_clipped_and_the_initial_chunk_is_not(process):
    noise = draw(process)
    noise[1:] *= 100
    clipped = torch.cat([noise[:1], noise[1:].clamp(-3, 3)])
    assert process.config.randn_clip_value == 3
    assert torch.equal(sample(process, noise, 4).x, sample(process, clipped, 4).x)
    far = noise.clone()
    far[0] = 5.0
    assert torch.equal(sample(process, far, 4).x[:, 0], far[0])


@pytest.mark.parametrize("process", processes(only_ddim=True))
def test_greedy_ddim_has_no_noise_but_the_initial_chunk(process):
    noise = draw(process)
    other = torch.cat([noise[:1], draw(process, seed=1)[1:]])
    chains = [sample(process, n, 3, deterministic=True).x for n in (noise, other)]
    assert torch.equal(*chains)


def test_greedy_ddpm_has_its_own_noise_but_none_in_the_last_step():
    process = DenoisingProcess(DenoisingConfig(denoising_steps=6))
    noise = draw(process)
    for step in range(6):
        quiet, loud = noise.clone(), noise.clone()
        quiet[step + 1], loud[step + 1] = 0, 1
        first, second = (sample(process, n, 6, deterministic=True).x for n in (quiet, loud))
        std = 0.0 if step == 5 else max(process.table.std[step].item(), 1e-3)
        difference = second[:, step + 1] - first[:, step + 1]
        assert_close(difference, torch.full_like(difference, std))


@few_examples
@given(configs(), st.floats(0.1, 1.0))
def test_final_chunk_is_within_its_bound(config, bound):
    process = DenoisingProcess(replace(config, final_action_clip_value=bound))
    chunk = sample(process, draw(process), 1, min_std=1.0).chunk
    assert chunk.abs().max() <= torch.tensor(bound)


def test_greedy_chunk_is_within_the_denoised_bound():
    """The last step returns the predicted clean chunk, which is clipped."""
    process = DenoisingProcess(DenoisingConfig(denoising_steps=20, denoised_clip_value=0.3))
    chunk = sample(process, draw(process), 5, deterministic=True).chunk
    assert chunk.abs().max() <= 0.3 + 1e-4


@pytest.mark.parametrize("process", processes(only_ddim=True))
@pytest.mark.parametrize("shape", [(1,), (1, 1, 1), (BATCH, 1, 1), (BATCH, 1, ACTION_DIM)])
def test_noise_level_of_a_tensor_is_that_of_the_configuration(process, shape):
    eta = torch.full(shape, process.config.eta)
    chain = sample(process, draw(process), 3)
    other = sample(process, draw(process), 3, eta=eta)
    assert_close(other.x, chain.x)
    assert_close(other.log_probs, chain.log_probs)


def test_noise_level_may_differ_per_row_and_action_dimension():
    process = DenoisingProcess(DenoisingConfig(denoising_steps=20, ddim_steps=4))
    eta = torch.rand(BATCH, 1, ACTION_DIM, generator=torch.Generator().manual_seed(0))
    chunk = sample(process, draw(process), 4, eta=eta).x[:, 1]
    for row in range(BATCH):
        for dim in range(ACTION_DIM):
            alone = sample(process, draw(process), 4, eta=eta[row, :, dim].view(1, 1, 1)).x[:, 1]
            assert_close(alone[row, :, dim], chunk[row, :, dim])


def test_eps_that_stays_within_its_bound_is_not_changed():
    config = DenoisingConfig(denoising_steps=20, ddim_steps=4, eta=0.5)
    clipped = DenoisingProcess(replace(config, eps_clip_value=1e6))
    free = DenoisingProcess(config)
    assert_close(sample(clipped, draw(free), 3).x, sample(free, draw(free), 3).x)


def test_sampling_builds_no_graph():
    process = DenoisingProcess(DenoisingConfig(denoising_steps=4))
    chain = sample(process, draw(process), 2)
    assert not chain.x.requires_grad
    assert not chain.log_probs.requires_grad


def test_drawn_noise_is_standard_normal_and_reproducible():
    process = DenoisingProcess(DenoisingConfig(denoising_steps=20))
    noise = process.draw_noise((200, 4, 3), generator=torch.Generator().manual_seed(3))
    again = process.draw_noise((200, 4, 3), generator=torch.Generator().manual_seed(3))
    assert noise.shape == (21, 200, 4, 3)
    assert torch.equal(noise, again)
    assert noise.mean().item() == pytest.approx(0, abs=0.02)
    assert noise.std().item() == pytest.approx(1, abs=0.02)


# Log-probabilities


def chain_log_probs(
    process: DenoisingProcess, chain: Chain, act_steps: int, eta: Tensor | None = None
) -> Tensor:
    """The log-probabilities of a chain, recomputed as the learner does."""
    ft_steps = chain.log_probs.shape[1]
    index = torch.arange(process.config.sampler_steps - ft_steps, process.config.sampler_steps)
    return process.transition_log_prob(
        ACTOR,
        ACTOR.encode(OBS).repeat_interleave(ft_steps, dim=0),
        chain.x[:, :-1].flatten(0, 1),
        chain.x[:, 1:].flatten(0, 1),
        index.repeat(BATCH),
        min_logprob_std=0.1,
        act_steps=act_steps,
        eta=None if eta is None else eta.repeat_interleave(ft_steps, dim=0),
    ).view(BATCH, ft_steps)


@few_examples
@given(cases(), st.integers(1, HORIZON))
def test_log_probs_of_sampling_are_those_of_the_chain(case, act_steps):
    process, ft_steps = case
    chain = sample(process, draw(process), ft_steps, act_steps=act_steps)
    torch.testing.assert_close(
        chain_log_probs(process, chain, act_steps), chain.log_probs, rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("act_steps", [1, HORIZON])
@pytest.mark.parametrize("shape", [(1, 1), (1, ACTION_DIM), (HORIZON, ACTION_DIM)])
def test_log_probs_of_sampling_are_those_of_the_chain_for_any_noise_level(shape, act_steps):
    process = DenoisingProcess(DenoisingConfig(denoising_steps=20, ddim_steps=4))
    eta = torch.rand(BATCH, *shape, generator=torch.Generator().manual_seed(0))
    chain = sample(process, draw(process), 3, act_steps=act_steps, eta=eta)
    torch.testing.assert_close(
        chain_log_probs(process, chain, act_steps, eta), chain.log_probs, rtol=1e-4, atol=1e-4
    )


@few_examples
@given(cases())
def test_log_probs_are_bounded(case):
    process, ft_steps = case
    log_probs = sample(process, draw(process), ft_steps, min_std=3.0).log_probs
    assert ((log_probs >= -5) & (log_probs <= 2)).all()


@few_examples
@given(st.integers(1, HORIZON - 1), st.integers(0, 1000))
def test_mean_log_prob_ignores_actions_beyond_act_steps(act_steps, seed):
    x_next, mean, other = (randn(BATCH, HORIZON, ACTION_DIM, seed=seed + i) for i in range(3))
    std = torch.full((1, 1, 1), 0.7)
    changed = torch.cat([x_next[:, :act_steps], other[:, act_steps:]], dim=1)
    log_prob = mean_log_prob(x_next, mean, std, act_steps)
    assert torch.equal(mean_log_prob(changed, mean, std, act_steps), log_prob)
    whole = mean_log_prob(x_next, mean, std, HORIZON)
    assert not torch.equal(mean_log_prob(changed, mean, std, HORIZON), whole)


@few_examples
@given(
    st.integers(1, HORIZON),
    st.sampled_from([(1, 1), (1, ACTION_DIM), (HORIZON, 1), (HORIZON, ACTION_DIM)]),
    st.integers(0, 1000),
)
def test_mean_log_prob_is_the_mean_of_the_clamped_gaussian(act_steps, std_shape, seed):
    x_next, mean = (2 * randn(BATCH, HORIZON, ACTION_DIM, seed=seed + i) for i in range(2))
    std = randn(BATCH, *std_shape, seed=seed + 2).exp().clamp(0.02, 2)
    gaussian = torch.distributions.Normal(mean, std.expand_as(mean)).log_prob(x_next)
    expected = gaussian.clamp(-5, 2)[:, :act_steps].mean(dim=(1, 2))
    assert_close(mean_log_prob(x_next, mean, std, act_steps), expected)


@pytest.mark.parametrize("process", processes())
def test_log_prob_is_greatest_at_the_mean_and_its_gradient_reaches_every_weight(process):
    actor = copy.deepcopy(ACTOR)
    index = torch.tensor([1, 2, 3])
    x, features = randn(BATCH, HORIZON, ACTION_DIM), actor.encode(OBS)
    time = actor.embed_time(process.table.timestep)[index]
    mean, _ = process.mean_std(x, actor(x, time, features), index)

    def log_prob(x_next: Tensor) -> Tensor:
        return process.transition_log_prob(
            actor, features, x, x_next, index, min_logprob_std=0.5, act_steps=HORIZON
        )

    assert (log_prob(mean.detach()) > log_prob(mean.detach() + 0.1)).all()
    log_prob(mean.detach() + 0.1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in actor.parameters())
    assert any(p.grad.abs().max() > 0 for p in actor.parameters())


# The module


def test_process_has_no_state_of_its_own():
    process = DenoisingProcess(DenoisingConfig(ddim_steps=5))
    assert process.state_dict() == {}
    assert list(process.parameters()) == list(process.buffers()) == []


@pytest.mark.parametrize("process", processes())
def test_coefficients_follow_the_module_to_its_device(process):
    moved = torch.nn.ModuleList([copy.deepcopy(process)]).to("meta")[0]
    assert moved.table.std.device.type == "meta"
    assert moved.alphas_cumprod.device.type == "meta"
    x = torch.empty(BATCH, HORIZON, ACTION_DIM, device="meta")
    for deterministic in (False, True):
        mean, std = moved.mean_std(x, x, 0, deterministic=deterministic)
        assert mean.device.type == std.device.type == "meta"
    assert process.table.std.device.type == "cpu"


@pytest.mark.parametrize("process", processes())
def test_coefficients_keep_their_precision_when_the_module_changes_its(process):
    before = process.table.std.clone()
    assert torch.equal(copy.deepcopy(process).half().table.std, before)


@pytest.mark.parametrize("process", processes())
def test_a_process_survives_pickling(process):
    restored = pickle.loads(pickle.dumps(process))
    assert torch.equal(sample(restored, draw(process), 2).x, sample(process, draw(process), 2).x)


def test_noising_to_the_first_level_hardly_changes_a_chunk_and_to_the_last_erases_it():
    process = DenoisingProcess(DenoisingConfig(denoising_steps=100))
    chunk, noise = (randn(BATCH, HORIZON, ACTION_DIM, seed=i) for i in range(2))
    first = process.add_noise(chunk, torch.zeros(BATCH, dtype=torch.int64), noise)
    last = process.add_noise(chunk, torch.full((BATCH,), 99), noise)
    torch.testing.assert_close(first, chunk, rtol=0, atol=0.1)
    torch.testing.assert_close(last, noise, rtol=0, atol=1e-2)
