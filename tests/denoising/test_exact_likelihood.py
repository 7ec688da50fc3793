"""The likelihood by the probability-flow ODE: against densities that are known, and by itself."""

from __future__ import annotations

import itertools
import math
import re

import pytest
import torch
from torch import Tensor, nn

from dppo_rllib.denoising import (
    DenoisingConfig,
    DenoisingProcess,
    ExactLikelihoodConfig,
    FrozenBase,
    exact_log_likelihood,
)
from dppo_rllib.networks import DiffusionMLP, DiffusionMLPConfig, ObservationSpec

BATCH, HORIZON, ACTION_DIM = 3, 2, 2
SHAPE = (BATCH, HORIZON, ACTION_DIM)
MEAN = torch.tensor([[0.3, -0.8], [0.0, 0.6]], dtype=torch.float64)
STD = torch.tensor([[0.4, 0.7], [1.0, 0.25]], dtype=torch.float64)
# The rows of a Hadamard matrix: the mean of their outer products is the identity.
EXACT = torch.tensor(
    [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]], dtype=torch.float64
).view(4, 1, HORIZON, ACTION_DIM)


def process(levels: int, *, predict_epsilon: bool = True) -> DenoisingProcess:
    return DenoisingProcess(
        DenoisingConfig(denoising_steps=levels, predict_epsilon=predict_epsilon)
    )


def angles(levels: int) -> Tensor:
    alphas = process(levels).alphas_cumprod.double()
    return torch.atan2(torch.sqrt(1 - alphas), torch.sqrt(alphas))


class GaussianDenoiser:
    """The best denoiser of independent Gaussians; its time embedding is the angle of a level."""

    def __init__(self, levels: int, *, predict_epsilon: bool = True):
        self.angles, self.predict_epsilon = angles(levels), predict_epsilon

    def embed_time(self, timesteps: Tensor) -> Tensor:
        return self.angles[timesteps][:, None]

    def encode(self, obs: dict[str, Tensor]) -> Tensor:
        return obs["state"].flatten(1)

    def __call__(self, x: Tensor, time_embedding: Tensor, features: Tensor) -> Tensor:
        cos, sin = torch.cos(time_embedding[..., None]), torch.sin(time_embedding[..., None])
        residual = (x - cos * MEAN) / (cos**2 * STD**2 + sin**2)
        return sin * residual if self.predict_epsilon else MEAN + cos * STD**2 * residual


class SmoothDenoiser(nn.Module):
    """A denoiser that is not linear, of float64."""

    def __init__(self, seed: int):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        size = HORIZON * ACTION_DIM
        weights = torch.randn(2, size, size, dtype=torch.float64, generator=generator)
        self.first, self.second = (nn.Parameter(0.5 * weight) for weight in weights)
        self.levels_seen: set[float] = set()

    def embed_time(self, timesteps: Tensor) -> Tensor:
        return timesteps[:, None].double()

    def encode(self, obs: dict[str, Tensor]) -> Tensor:
        return obs["state"].flatten(1)

    def forward(self, x: Tensor, time_embedding: Tensor, features: Tensor) -> Tensor:
        self.levels_seen.add(time_embedding.item())
        hidden = torch.tanh(x.flatten(1) @ self.first + 0.1 * time_embedding + features)
        return (hidden @ self.second + 0.5 * x.flatten(1)).view_as(x)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


CHUNK, FEATURES = MEAN + STD * randn(*SHAPE), randn(BATCH, 1, seed=1)


def likelihood(
    levels: int,
    network: GaussianDenoiser | SmoothDenoiser,
    *,
    probes: Tensor = EXACT,
    chunk: Tensor = CHUNK,
    base: FrozenBase | None = None,
    predict_epsilon: bool = True,
    step_size: float | None = None,
    method: str = "euler",
) -> Tensor:
    """With a step per level, if no other size is given."""
    return exact_log_likelihood(
        process(levels, predict_epsilon=predict_epsilon),
        network,
        FEATURES,
        chunk,
        probes.expand(-1, *SHAPE),
        ExactLikelihoodConfig(step_size or 1 / levels, method),
        base=base,
    )


# Densities in closed form

ANALYTIC = torch.distributions.Normal(MEAN, STD).log_prob(CHUNK).mean(dim=(1, 2))


def error(levels: int, **settings: object) -> float:
    network = GaussianDenoiser(levels, predict_epsilon=settings.get("predict_epsilon", True))
    return (likelihood(levels, network, **settings) - ANALYTIC).abs().max().item()


@pytest.mark.parametrize("predict_epsilon", [True, False])
def test_likelihood_of_a_gaussian_approaches_its_density_as_steps_shrink(predict_epsilon):
    errors = [
        error(400, predict_epsilon=predict_epsilon, step_size=step)
        for step in (1 / 10, 1 / 20, 1 / 40, 1 / 80, 1 / 160)
    ]
    assert all(fine < 0.75 * coarse for coarse, fine in itertools.pairwise(errors))
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("predict_epsilon", [True, False])
def test_likelihood_of_a_gaussian_approaches_its_density_with_more_levels(predict_epsilon):
    errors = [error(levels, predict_epsilon=predict_epsilon) for levels in (20, 40, 80, 160)]
    assert all(fine < 0.75 * coarse for coarse, fine in itertools.pairwise(errors))
    assert errors[0] < 1e-2 and errors[-1] < 1e-3


@pytest.mark.parametrize("method", ["midpoint", "rk4"])
def test_solvers_of_higher_order_are_closer(method):
    steps = {"step_size": 1 / 25}
    assert error(400, method=method, **steps) < 0.5 * error(400, method="euler", **steps)


@pytest.mark.parametrize("probe", EXACT)
def test_any_probe_is_exact_where_elements_do_not_mix(probe):
    network = GaussianDenoiser(20)
    torch.testing.assert_close(likelihood(20, network, probes=probe[None]), likelihood(20, network))


# Densities by change of variables


def noise_of(
    x: Tensor, features: Tensor, networks: list[SmoothDenoiser], predict_epsilon: bool
) -> Tensor:
    """Where the VP process, as it is usually written, takes chunks: `dx = -β/2 (x + score) dt`.

    By Runge-Kutta in small steps, without any divergence. The networks are those of the levels.
    """
    levels, per_level = len(networks), 64
    knots = torch.cat([torch.zeros(1, dtype=torch.float64), angles(levels)])
    h = 1 / per_level

    def drift(u: float, x: Tensor) -> Tensor:
        i = min(int(u), levels - 1)
        phi = knots[i] + (u - i) * (knots[i + 1] - knots[i])
        half_beta = torch.tan(phi) * (knots[i + 1] - knots[i])  # -d ln √ā / du
        told, level = max(phi, knots[1]), max(u - 1, 0.0)
        network = networks[min(int(level + 0.5), levels - 1)]
        output = network(x, torch.tensor([[level]]), features)
        if predict_epsilon:
            score = -output / torch.sin(told)
        else:
            score = (torch.cos(told) * output - x) / torch.sin(told) ** 2
        return -half_beta * (x + score)

    for n in range(levels * per_level):
        u = n * h
        k1 = drift(u, x)
        k2 = drift(u + h / 2, x + h / 2 * k1)
        k3 = drift(u + h / 2, x + h / 2 * k2)
        k4 = drift(u + h, x + h * k3)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


@torch.no_grad()
def change_of_variables(networks: list[SmoothDenoiser], predict_epsilon: bool) -> Tensor:
    """`log N(z) + log |det dz/dx|` per element, the Jacobian by central differences."""
    size, shift = HORIZON * ACTION_DIM, 1e-4
    moves = shift * torch.eye(size, dtype=torch.float64).view(size, HORIZON, ACTION_DIM)
    shifted = torch.stack([CHUNK + move for move in (*moves, *-moves, torch.zeros_like(moves[0]))])
    features = FEATURES.expand(len(shifted), -1, -1).flatten(0, 1)
    noise = noise_of(shifted.flatten(0, 1), features, networks, predict_epsilon)
    noise = noise.view(len(shifted), BATCH, size)
    jacobian = (noise[:size] - noise[size:-1]) / (2 * shift)  # [in, B, out]
    log_det = torch.linalg.slogdet(jacobian.transpose(0, 1)).logabsdet
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(noise[-1]).sum(dim=1)
    return (log_prior + log_det) / size


@pytest.mark.parametrize("predict_epsilon", [True, False])
@pytest.mark.parametrize("ft_steps", [1, 2, 4])
@torch.no_grad()
def test_likelihood_is_that_of_the_change_of_variables(ft_steps, predict_epsilon):
    levels, actor, frozen = 4, SmoothDenoiser(0), SmoothDenoiser(1)
    ours = likelihood(
        levels,
        actor,
        base=FrozenBase(frozen, FEATURES, ft_steps),
        predict_epsilon=predict_epsilon,
        step_size=1 / 256,
        method="rk4",
    )
    networks = [actor] * ft_steps + [frozen] * (levels - ft_steps)
    expected = change_of_variables(networks, predict_epsilon)
    torch.testing.assert_close(ours, expected, rtol=2e-3, atol=2e-3)


def test_estimate_is_unbiased_and_a_single_probe_is_not_exact():
    network = SmoothDenoiser(0)
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=4)), dtype=torch.float64)
    each = torch.stack(
        [likelihood(6, network, probes=probe.view(1, 1, HORIZON, ACTION_DIM)) for probe in signs]
    )
    torch.testing.assert_close(each.mean(dim=0), likelihood(6, network))
    assert (each.std(dim=0) > 1e-2).all()


# Which network acts


def test_without_a_base_the_network_takes_every_level():
    network = SmoothDenoiser(0)
    likelihood(6, network)
    assert network.levels_seen == {0.0, 1.0, 2.0, 3.0, 4.0}  # Euler looks from the near end


@pytest.mark.parametrize("ft_steps", [1, 3, 5])
def test_the_base_takes_the_noisy_levels(ft_steps):
    network, frozen = SmoothDenoiser(0), SmoothDenoiser(1)
    likelihood(6, network, base=FrozenBase(frozen, FEATURES, ft_steps))
    assert network.levels_seen == set(range(ft_steps))
    assert frozen.levels_seen == set(range(ft_steps, 5))


def test_the_base_is_not_asked_where_all_steps_are_fine_tuned():
    network, frozen = SmoothDenoiser(0), SmoothDenoiser(1)
    whole = likelihood(6, network, base=FrozenBase(frozen, FEATURES, 6))
    assert torch.equal(whole, likelihood(6, network))
    assert frozen.levels_seen == set()


def test_a_base_with_the_same_weights_changes_nothing():
    whole = likelihood(6, SmoothDenoiser(0))
    split = likelihood(6, SmoothDenoiser(0), base=FrozenBase(SmoothDenoiser(0), FEATURES, 2))
    assert torch.equal(split, whole)


def test_with_ddim_the_fine_tuned_network_takes_the_levels_around_its_own():
    """Of levels 0, 5, 10 and 15 the last two sampler steps take 0 and 5."""
    ddim = DenoisingProcess(DenoisingConfig(denoising_steps=20, ddim_steps=4))
    network, frozen = SmoothDenoiser(0), SmoothDenoiser(1)
    base = FrozenBase(frozen, FEATURES, 2)
    probes = EXACT.expand(-1, *SHAPE)
    exact_log_likelihood(ddim, network, FEATURES, CHUNK, probes, ExactLikelihoodConfig(), base=base)
    assert network.levels_seen == set(range(8))
    assert frozen.levels_seen == set(range(8, 19))


@pytest.mark.parametrize("ft_steps", [0, 7])
def test_more_fine_tuned_steps_than_there_are_or_none_are_refused(ft_steps):
    base = FrozenBase(SmoothDenoiser(1), FEATURES, ft_steps)
    with pytest.raises(ValueError, match=f"ft_denoising_steps={ft_steps}: expected 1 to"):
        likelihood(6, SmoothDenoiser(0), base=base)


# As the loss of PPO needs it


@pytest.mark.parametrize("ft_steps", [None, 2])
def test_gradients_are_the_finite_differences(ft_steps):
    """Through the path of the chunk and through the divergence, also past the base's levels."""
    network = SmoothDenoiser(0)
    base = None if ft_steps is None else FrozenBase(SmoothDenoiser(1), FEATURES, ft_steps)
    probes = randn(2, *SHAPE, seed=2).sign()

    def out(first: Tensor, second: Tensor) -> Tensor:
        class WithWeights(SmoothDenoiser):
            def forward(self, x: Tensor, time_embedding: Tensor, features: Tensor) -> Tensor:
                weights = {"first": first, "second": second}
                return torch.func.functional_call(network, weights, (x, time_embedding, features))

        return likelihood(4, WithWeights(0), probes=probes, base=base)

    assert torch.autograd.gradcheck(out, (network.first, network.second))


def test_likelihood_without_a_graph_is_the_same():
    network, probes = SmoothDenoiser(0), randn(2, *SHAPE, seed=2).sign()
    with_graph = likelihood(6, network, probes=probes)
    with torch.no_grad():
        without = likelihood(6, network, probes=probes)
    assert with_graph.requires_grad and not without.requires_grad
    assert torch.equal(without, with_graph.detach())
    assert not CHUNK.requires_grad


@pytest.mark.parametrize("method", ["euler", "midpoint", "rk4"])
def test_likelihood_of_a_row_does_not_depend_on_the_others(method):
    network, probes = SmoothDenoiser(0), randn(2, *SHAPE, seed=2).sign()
    together = likelihood(6, network, probes=probes, method=method)
    for row in range(BATCH):
        alone = exact_log_likelihood(
            process(6),
            network,
            FEATURES[row : row + 1],
            CHUNK[row : row + 1],
            probes[:, row : row + 1],
            ExactLikelihoodConfig(1 / 6, method),
        )
        torch.testing.assert_close(alone, together[row : row + 1])


def test_every_weight_of_a_denoiser_gets_a_gradient():
    torch.manual_seed(0)
    network = DiffusionMLP(
        DiffusionMLPConfig(mlp_dims=(16,), time_dim=4),
        ObservationSpec(3),
        horizon_steps=HORIZON,
        action_dim=ACTION_DIM,
    )
    obs, config = {"state": randn(BATCH, 1, 3).float()}, ExactLikelihoodConfig()
    probes = randn(config.num_probes, *SHAPE, seed=2).sign().float()
    log_likelihood = exact_log_likelihood(
        process(20), network, network.encode(obs), CHUNK.float(), probes, config
    )
    assert log_likelihood.shape == (BATCH,)
    log_likelihood.sum().backward()
    for parameter in network.parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0


# Configuration


def test_defaults_are_the_authors():
    config = ExactLikelihoodConfig()
    assert (config.step_size, config.method, config.num_probes) == (0.05, "euler", 2)


@pytest.mark.parametrize(
    "field, value",
    [
        ("step_size", 0.0),
        ("step_size", 1.5),
        ("step_size", math.nan),
        ("method", "dopri5"),
        ("num_probes", 0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=re.escape(f"{field}={value!r}: expected")):
        ExactLikelihoodConfig(**{field: value})
