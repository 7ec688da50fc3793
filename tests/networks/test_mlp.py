"""The MLPs and the denoiser made of them: shapes, sizes, refusals."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dppo_rllib.networks import MLP, DiffusionMLP, DiffusionMLPConfig, ObservationSpec, ResidualMLP
from dppo_rllib.networks.mlp import ACTIVATIONS, SinusoidalEmbedding


def denoiser(cond_dim: int = 5, horizon_steps: int = 4, **config: Any) -> DiffusionMLP:
    torch.manual_seed(0)
    values = {"mlp_dims": (16, 16, 16), "time_dim": 8} | config
    return DiffusionMLP(
        DiffusionMLPConfig(**values),
        ObservationSpec(cond_dim),
        horizon_steps=horizon_steps,
        action_dim=3,
    )


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def predict(network: DiffusionMLP, x: Tensor, timesteps: Tensor, state: Tensor) -> Tensor:
    return network(x, network.embed_time(timesteps), network.encode({"state": state}))


@pytest.mark.parametrize("count", [2, 4])
def test_residual_mlp_refuses_an_even_number_of_layers(count):
    dims = [16] * count
    with pytest.raises(ValueError, match=re.escape(f"mlp_dims={dims}") + ".*odd number of equal"):
        denoiser(mlp_dims=tuple(dims))


@pytest.mark.parametrize("dims", [(16, 32, 16), (16, 16, 32), ()])
def test_residual_mlp_refuses_unequal_widths(dims):
    with pytest.raises(ValueError, match=re.escape(f"mlp_dims={list(dims)}")):
        ResidualMLP([4, *dims, 2], "ReLU")


def test_plain_mlp_takes_any_widths():
    network = denoiser(mlp_dims=(16, 8), residual=False)
    assert predict(network, torch.zeros(2, 4, 3), torch.zeros(2).long(), torch.zeros(2, 1, 5)).shape


@pytest.mark.parametrize("residual", [True, False])
def test_unknown_activation_is_refused_with_the_known_ones(residual):
    with pytest.raises(ValueError, match=r"activation='relu': expected one of .*'ReLU'"):
        denoiser(activation="relu", residual=residual)


@pytest.mark.parametrize("widths", [(), (16, 0)])
@pytest.mark.parametrize("name", ["mlp_dims", "cond_mlp_dims"])
def test_widths_are_positive_and_there_is_one(name, widths):
    with pytest.raises(ValueError, match=f"{name}=.*expected positive widths"):
        DiffusionMLPConfig(**{name: widths})


@pytest.mark.parametrize("time_dim", [0, 2, 3, 7])
def test_time_dim_is_even_and_at_least_4(time_dim):
    with pytest.raises(ValueError, match=f"time_dim={time_dim}: expected an even number"):
        denoiser(time_dim=time_dim)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("network", [MLP, ResidualMLP])
def test_every_activation_is_used_inside_and_none_at_the_end(network, name):
    built = network([3, 8, 8, 8, 2], name)
    assert any(isinstance(m, ACTIVATIONS[name]) for m in built.modules())
    x = torch.full((1, 3), -100.0)
    last = list(built.modules())
    assert isinstance([m for m in last if not list(m.children())][-1], nn.Linear)
    assert built(x).shape == (1, 2)


def test_residual_block_is_the_identity_when_its_second_layer_is_zero():
    network = ResidualMLP([3, 8, 8, 8, 2], "Mish", use_layernorm=True)
    block = network.layers[1]
    nn.init.zeros_(block.l2.weight)
    nn.init.zeros_(block.l2.bias)
    x = torch.randn(4, 3)
    assert torch.equal(network(x), network.layers[2](network.layers[0](x)))


@pytest.mark.parametrize(("hidden", "blocks"), [(1, 0), (3, 1), (5, 2), (7, 3)])
def test_residual_mlp_has_one_block_for_two_hidden_layers(hidden, blocks):
    network = ResidualMLP([3, *[8] * hidden, 2], "ReLU")
    assert len(network.layers) == blocks + 2


def test_parameters_of_the_hopper_denoiser_are_those_of_its_layers():
    """(Tp·Da + time + Do)·512 + two 512² layers + 512·Tp·Da, biases, and the time MLP."""
    network = DiffusionMLP(DiffusionMLPConfig(), ObservationSpec(11), horizon_steps=4, action_dim=3)
    time = 16 * 32 + 32 + 32 * 16 + 16
    mlp = (12 + 16 + 11) * 512 + 512 + 2 * (512 * 512 + 512) + 512 * 12 + 12
    assert parameters(network) == time + mlp


@settings(max_examples=30)
@given(
    batch=st.integers(1, 4),
    cond_steps=st.integers(1, 3),
    horizon=st.integers(1, 5),
    residual=st.booleans(),
    layernorm=st.booleans(),
    cond_mlp_dims=st.sampled_from([None, (6,), (8, 4)]),
)
def test_output_has_the_shape_of_the_chunk(
    batch, cond_steps, horizon, residual, layernorm, cond_mlp_dims
):
    network = denoiser(
        cond_dim=cond_steps * 5,
        horizon_steps=horizon,
        residual=residual,
        use_layernorm=layernorm,
        cond_mlp_dims=cond_mlp_dims,
    )
    x, state = torch.randn(batch, horizon, 3), torch.randn(batch, cond_steps, 5)
    features = network.encode({"state": state})
    assert features.shape == (batch, cond_mlp_dims[-1] if cond_mlp_dims else cond_steps * 5)
    output = predict(network, x, torch.zeros(batch).long(), state)
    assert output.shape == x.shape


def test_observation_is_fed_as_it_is_without_an_observation_mlp():
    state = torch.randn(2, 3, 5)
    assert torch.equal(denoiser(cond_dim=15).encode({"state": state}), state.flatten(1))


def test_one_time_embedding_serves_all_rows():
    network = denoiser()
    x, state = torch.randn(6, 4, 3), torch.randn(6, 1, 5)
    features = network.encode({"state": state})
    shared = network(x, network.embed_time(torch.tensor([3])), features)
    torch.testing.assert_close(shared, predict(network, x, torch.full((6,), 3), state))


def test_output_depends_on_chunk_step_and_observation():
    network = denoiser()
    x, timesteps, state = torch.randn(1, 4, 3), torch.tensor([3]), torch.randn(1, 1, 5)
    output = predict(network, x, timesteps, state)
    for other in (
        predict(network, x + 1, timesteps, state),
        predict(network, x, timesteps + 1, state),
        predict(network, x, timesteps, state + 1),
    ):
        assert not torch.allclose(other, output)


def test_sinusoidal_embedding_is_sines_then_cosines_of_falling_frequencies():
    embedding = SinusoidalEmbedding(8)(torch.tensor([0, 1, 19]))
    frequencies = [10000 ** (-i / 3) for i in range(4)]
    for row, t in enumerate([0, 1, 19]):
        expected = [math.sin(t * f) for f in frequencies] + [math.cos(t * f) for f in frequencies]
        torch.testing.assert_close(embedding[row], torch.tensor(expected), rtol=1e-4, atol=1e-5)
