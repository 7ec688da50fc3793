"""Mixture MLP heads: against the authors' code, their modes, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from golden_tensors import assert_close, golden, golden_keys, golden_layout, weights
from torch import Tensor

from dppo_rllib.checkpoints.official_file import native_keys
from dppo_rllib.networks.gmm import GMMMLP, GMMMLPConfig
from dppo_rllib.networks.observation import ObservationSpec

STATE_DEPENDENT: dict[str, Any] = {"fixed_std": None, "learn_fixed_std": False}
CASES: dict[str, dict[str, Any]] = {
    "gmm_fixedstd": {"num_modes": 3},
    "gmm_learned": STATE_DEPENDENT | {"num_modes": 2, "std_max": 1.0},
}
BOUNDS = {"logvar_min", "logvar_max"}


def head(**config: Any) -> GMMMLP:
    torch.manual_seed(0)
    return GMMMLP(
        GMMMLPConfig(**({"mlp_dims": (32, 32, 32), "num_modes": 3} | config)),
        ObservationSpec(5),
        horizon_steps=4,
        action_dim=3,
    )


def official_head(name: str) -> GMMMLP:
    network = head(**CASES[name])
    network.load_state_dict(native_keys(weights(name, "actor_ft.", "model")), strict=True)
    return network


def outputs(network: GMMMLP, state: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return network(network.encode({"state": state}))


def test_every_golden_mixture_is_compared():
    assert {key.split("/")[1] for key in golden_keys("gauss/gmm_")} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_modes_and_their_weights_are_the_authors(name):
    means, stds, logits = outputs(official_head(name), golden("gauss/obs"))
    assert_close(means.flatten(2), golden(f"gauss/{name}/means"))
    assert_close(stds.flatten(2), golden(f"gauss/{name}/scales"))
    assert_close(logits, golden(f"gauss/{name}/logits"))


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_the_authors_in_their_order_but_bounds_are_buffers(name):
    network = official_head(name)
    official = [(key, shape) for key, shape, _ in golden_layout(f"{name}/actor_ft")]
    ours = [(key, list(value.shape)) for key, value in network.named_parameters()]
    assert ours == [entry for entry in official if entry[0] not in BOUNDS]
    assert dict(network.named_buffers()).keys() == BOUNDS


def test_learned_std_is_one_number_per_mode_and_action_dimension():
    network, values = head(), torch.linspace(0.02, 0.18, 9).view(3, 3)
    with torch.no_grad():
        network.logvar.copy_(2 * values.log().flatten())
    _, stds, _ = outputs(network, torch.zeros(2, 1, 5))
    assert_close(stds, values[None, :, None].expand(2, 3, 4, 3))


def test_constant_std_is_no_parameter():
    network = head(learn_fixed_std=False)
    _, stds, _ = outputs(network, torch.zeros(2, 1, 5))
    assert torch.equal(stds, torch.full((2, 3, 4, 3), 0.1))
    assert "logvar" not in network.state_dict()


@pytest.mark.parametrize("config", [{}, STATE_DEPENDENT])
def test_gradient_reaches_every_parameter(config):
    network = head(**config)
    with torch.no_grad():  # within the bounds, where the gradient is not cut
        for name, parameter in network.named_parameters():
            if name == "mlp_logvar.layers.2.bias":
                parameter.fill_(-5)
    sum(part.square().sum() for part in outputs(network, torch.randn(8, 1, 5))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("bias", [-50.0, 50.0])
def test_state_dependent_std_stays_within_its_bounds(bias):
    network = head(**STATE_DEPENDENT)
    with torch.no_grad():
        network.mlp_logvar.layers[2].bias.fill_(bias)
    _, stds, _ = outputs(network, torch.zeros(2, 1, 5))
    assert_close(stds, torch.full_like(stds, 0.01 if bias < 0 else 0.2))


def test_an_empty_batch_gives_empty_modes():
    means, _, logits = outputs(head(), torch.zeros(0, 1, 5))
    assert means.shape == (0, 3, 4, 3)
    assert logits.shape == (0, 3)


def test_defaults_are_those_of_the_authors_robomimic_policies():
    assert GMMMLPConfig() == GMMMLPConfig(
        fixed_std=0.1,
        learn_fixed_std=True,
        std_min=0.01,
        std_max=0.2,
        mlp_dims=(512, 512, 512),
        activation="Mish",
        residual=True,
        use_layernorm=False,
        num_modes=5,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_modes": 0}, "num_modes=0: expected at least 1"),
        ({"fixed_std": -0.1}, "fixed_std=-0.1: expected a positive number"),
        ({"mlp_dims": (8, 8)}, "mlp_dims=[8, 8]: with residual=True expected an odd number"),
        ({"activation": "mish"}, "activation='mish': expected one of"),
    ],
)
def test_bad_configuration_is_refused_with_field_and_value(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GMMMLPConfig(**values)
