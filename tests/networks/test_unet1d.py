"""The 1-D U-Net: shapes, sizes, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dppo_rllib.networks import ObservationSpec, UNet1D, UNet1DConfig, VisionConfig

SMALL: dict[str, Any] = {"dim": 8, "n_groups": 4, "diffusion_step_embed_dim": 8}


def unet(
    horizon_steps: int = 8, spec: ObservationSpec | None = None, seed: int = 0, **config: Any
) -> UNet1D:
    torch.manual_seed(seed)
    return UNet1D(
        UNet1DConfig(**(SMALL | config)),
        spec or ObservationSpec(5),
        horizon_steps=horizon_steps,
        action_dim=3,
    )


def predict(network: UNet1D, x: Tensor, timesteps: Tensor, state: Tensor) -> Tensor:
    return network(x, network.embed_time(timesteps), network.encode({"state": state}))


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("diffusion_step_embed_dim", 2, "an even number of at least 4"),
        ("diffusion_step_embed_dim", 9, "an even number of at least 4"),
        ("dim", 0, "at least 1"),
        ("dim_mults", (), "positive factors, at least one"),
        ("dim_mults", (1, 0), "positive factors, at least one"),
        ("kernel_size", 4, "an odd number"),
        ("kernel_size", 0, "an odd number"),
        ("kernel_size", -1, "an odd number"),
        ("n_groups", 3, r"a divisor of the channels \[8, 16\]"),
        ("n_groups", 0, "a divisor of the channels"),
        ("groupnorm_eps", 0.0, "a positive number"),
        ("activation", "mish", "one of"),
        ("cond_mlp_dims", (), "an odd number of equal positive widths"),
        ("cond_mlp_dims", (16,), "an odd number of equal positive widths"),
        ("cond_mlp_dims", (16, 16, 8), "an odd number of equal positive widths"),
        ("cond_mlp_dims", (16, 8, 16, 8), "an odd number of equal positive widths"),
        ("cond_mlp_dims", (16, 0), "an odd number of equal positive widths"),
        ("cond_mlp_dims", (0, 16), "an odd number of equal positive widths"),
    ],
)
def test_values_out_of_range_are_refused(field, value, expected):
    shown = re.escape(repr(list(value) if isinstance(value, tuple) else value))
    with pytest.raises(ValueError, match=f"{field}={shown}: expected .*{expected}"):
        UNet1DConfig(**(SMALL | {field: value}))


@pytest.mark.parametrize(
    ("horizon_steps", "dim_mults", "factor"), [(5, (1, 2), 2), (6, (1, 2, 4), 4), (0, (1,), 1)]
)
def test_chunk_that_cannot_be_halved_at_every_level_is_refused(horizon_steps, dim_mults, factor):
    with pytest.raises(
        ValueError, match=f"horizon_steps={horizon_steps}: expected a multiple of {factor}"
    ):
        unet(horizon_steps, dim_mults=dim_mults)


def test_defaults_are_those_of_square():
    """The fine-tuned networks of the authors' `ft_ppo_diffusion_unet` for Square."""
    config = UNet1DConfig()
    assert config == UNet1DConfig(16, 64, (1, 2), 5, 8, False, True, 1e-5, "Mish", None)
    assert config.channels == (64, 128)


@pytest.mark.parametrize("dim_mults", [(1,), (1, 2), (2, 3), (1, 2, 4)])
@pytest.mark.parametrize("horizon_steps", [4, 8, 16])
def test_output_has_the_shape_of_the_chunk(horizon_steps, dim_mults):
    network = unet(horizon_steps, dim_mults=dim_mults)
    x = torch.randn(2, horizon_steps, 3)
    assert predict(network, x, torch.tensor([0, 7]), torch.randn(2, 1, 5)).shape == x.shape


@settings(max_examples=20)
@given(
    kernel_size=st.sampled_from([1, 3, 5]),
    n_groups=st.sampled_from([None, 2, 8]),
    smaller_encoder=st.booleans(),
    cond_predict_scale=st.booleans(),
    cond_mlp_dims=st.sampled_from([None, (6, 4), (6, 6, 6, 4)]),
)
def test_every_row_is_denoised_on_its_own(**config):
    network = unet(4, **config)
    x, timesteps, state = torch.randn(3, 4, 3), torch.tensor([0, 3, 19]), torch.randn(3, 1, 5)
    output = predict(network, x, timesteps, state)
    others = torch.tensor([[[0.0]], [[1.0]], [[1.0]]])
    changed = predict(network, x + others, timesteps + others.flatten().long(), state - others)
    assert torch.equal(changed[0], output[0])
    assert not torch.allclose(changed[1:], output[1:])


@pytest.mark.parametrize("cond_mlp_dims", [None, (6, 4)])
@pytest.mark.parametrize("dim_mults", [(1,), (1, 2, 4)])
def test_gradient_reaches_every_parameter(dim_mults, cond_mlp_dims):
    network = unet(dim_mults=dim_mults, cond_mlp_dims=cond_mlp_dims)
    output = predict(network, torch.randn(4, 8, 3), torch.arange(4), torch.randn(4, 1, 5))
    (output * torch.randn_like(output)).sum().backward()
    assert all((p.grad != 0).any() for p in network.parameters())


def test_one_time_embedding_serves_all_rows():
    network = unet()
    x, state = torch.randn(6, 8, 3), torch.randn(6, 1, 5)
    features = network.encode({"state": state})
    shared = network(x, network.embed_time(torch.tensor([3])), features)
    torch.testing.assert_close(shared, predict(network, x, torch.full((6,), 3), state))


@pytest.mark.parametrize("smaller_encoder", [True, False])
def test_output_depends_on_chunk_step_and_observation(smaller_encoder):
    network = unet(smaller_encoder=smaller_encoder)
    x, timesteps, state = torch.randn(1, 8, 3), torch.tensor([3]), torch.randn(1, 1, 5)
    output = predict(network, x, timesteps, state)
    for other in (
        predict(network, x + torch.randn_like(x), timesteps, state),
        predict(network, x, timesteps + 1, state),
        predict(network, x, timesteps, state + 1),
    ):
        assert not torch.allclose(other, output)


def test_every_step_of_the_chunk_sees_every_other():
    network = unet(8, dim_mults=(1, 2))
    x = torch.randn(1, 8, 3, requires_grad=True)
    predict(network, x, torch.tensor([3]), torch.randn(1, 1, 5))[0, 0].sum().backward()
    assert (x.grad != 0).all()


def test_an_observation_mlp_takes_the_place_of_the_larger_encoders():
    with_mlp = unet(cond_mlp_dims=(16, 16), smaller_encoder=False)
    smaller = unet(cond_mlp_dims=(16, 16), smaller_encoder=True)
    assert with_mlp.state_dict().keys() == smaller.state_dict().keys()


def test_pictures_and_an_observation_mlp_go_together():
    spec = ObservationSpec(5, (3, 16, 16), VisionConfig(embed_dim=8, num_heads=2, spatial_emb=6))
    network = unet(4, spec=spec, cond_mlp_dims=(16, 7))
    features = network.encode(
        {
            "state": torch.randn(2, 1, 5),
            "rgb": torch.randint(0, 256, (2, 1, 3, 16, 16), dtype=torch.uint8),
        }
    )
    assert features.shape == (2, 6 + 7)
    x = torch.randn(2, 4, 3)
    assert network(x, network.embed_time(torch.tensor([1])), features).shape == x.shape
