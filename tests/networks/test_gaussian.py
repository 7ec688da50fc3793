"""Gaussian MLP heads: against the authors' code, their standard deviation, refusals."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from golden_tensors import assert_close, golden, golden_keys, golden_layout, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dppo_rllib.checkpoints.official_file import native_keys
from dppo_rllib.networks.gaussian import (
    GaussianMLP,
    GaussianMLPConfig,
    build_base,
    with_std_of,
)
from dppo_rllib.networks.observation import ObservationSpec, VisionConfig

STATE_DEPENDENT: dict[str, Any] = {"fixed_std": None, "learn_fixed_std": False}
CASES: dict[str, dict[str, Any]] = {
    "gauss_fixedstd": {"activation": "ReLU"},
    "gauss_const": {"learn_fixed_std": False, "std_max": 1.0},
    "gauss_learned": STATE_DEPENDENT | {"residual": False, "std_max": 1.0},
    "gauss_learned_notanh": STATE_DEPENDENT
    | {"residual": False, "std_max": 1.0, "tanh_output": False, "use_layernorm": True},
}
BOUNDS = {"logvar_min", "logvar_max"}


def head(cond_dim: int = 5, **config: Any) -> GaussianMLP:
    torch.manual_seed(0)
    return GaussianMLP(
        GaussianMLPConfig(**({"mlp_dims": (32, 32, 32)} | config)),
        ObservationSpec(cond_dim),
        horizon_steps=4,
        action_dim=3,
    )


def official_head(name: str) -> GaussianMLP:
    network = head(**CASES[name])
    network.load_state_dict(native_keys(weights(name, "actor_ft.", "model")), strict=True)
    return network


def states(batch: int = 6) -> dict[str, Tensor]:
    return {"state": torch.randn(batch, 1, 5, generator=torch.Generator().manual_seed(1))}


def outputs(network: GaussianMLP, obs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    return network(network.encode(obs))


def test_every_golden_gaussian_is_compared():
    assert {key.split("/")[1] for key in golden_keys("gauss/gauss_")} == CASES.keys()


@pytest.mark.parametrize("name", CASES)
def test_mean_and_std_are_the_authors(name):
    mean, std = outputs(official_head(name), {"state": golden("gauss/obs")})
    assert_close(mean.flatten(1), golden(f"gauss/{name}/mean"))
    assert_close(std.flatten(1), golden(f"gauss/{name}/scale"))


@pytest.mark.parametrize("name", CASES)
def test_parameters_are_the_authors_in_their_order_but_bounds_are_buffers(name):
    network = official_head(name)
    official = [(key, shape) for key, shape, _ in golden_layout(f"{name}/actor_ft")]
    ours = [(key, list(value.shape)) for key, value in network.named_parameters()]
    assert ours == [entry for entry in official if entry[0] not in BOUNDS]
    assert dict(network.named_buffers()).keys() == BOUNDS


@pytest.mark.parametrize("name", CASES)
def test_saved_weights_have_the_authors_keys(name):
    official = weights(name, "actor_ft.", "model")
    state = official_head(name).state_dict()
    assert state.keys() == official.keys()
    assert all(torch.equal(state[key], official[key]) for key in official)


def test_head_on_pictures_is_the_authors():
    network = GaussianMLP(
        GaussianMLPConfig(mlp_dims=(32, 32, 32)),
        ObservationSpec(5, (3, 48, 48), VisionConfig(embed_dim=16, num_heads=2, spatial_emb=8)),
        horizon_steps=4,
        action_dim=3,
    ).eval()
    network.load_state_dict(native_keys(weights("net_gaussianvision")), strict=True)
    obs = {key: golden(f"net/gaussianvision/in_{name}") for key, name in OBS_NAMES.items()}
    mean, std = outputs(network, obs)
    assert_close(mean.flatten(1), golden("net/gaussianvision/out0"))
    assert_close(std.flatten(1), golden("net/gaussianvision/out1"))


OBS_NAMES = {"state": "obs", "rgb": "rgb"}


def test_weights_trained_within_other_bounds_are_refused():
    state = weights("gauss_fixedstd", "actor_ft.", "model")
    with pytest.raises(RuntimeError, match=r"logvar_max: trained with std_max=0\.2, expected .*1$"):
        head(activation="ReLU", std_max=1.0).load_state_dict(state)


def test_bounds_are_refused_also_inside_a_larger_module():
    network = torch.nn.ModuleDict({"actor": head(std_min=0.02)})
    with pytest.raises(RuntimeError, match=r"actor\.logvar_min: trained with std_min=0\.01"):
        network.load_state_dict({f"actor.{k}": v for k, v in head().state_dict().items()})


def test_weights_of_a_constant_std_start_one_that_is_learned():
    pretrained = head(learn_fixed_std=False, std_max=1.0)
    network = head(fixed_std=0.05)
    network.load_state_dict(with_std_of(network, pretrained.state_dict()), strict=True)
    (mean, std), (before, _) = outputs(network, states()), outputs(pretrained, states())
    assert torch.equal(mean, before)
    assert_close(std, torch.full_like(std, 0.05))
    assert_close(network.logvar_max, torch.tensor(2 * math.log(0.2)))


def test_constant_std_is_no_parameter():
    network = head(learn_fixed_std=False, fixed_std=0.3, std_max=1.0)
    _, std = outputs(network, states())
    assert torch.equal(std, torch.full((6, 4, 3), 0.3))
    assert not std.requires_grad
    assert "logvar" not in network.state_dict()


def test_learned_std_is_one_number_per_action_dimension():
    network = head()
    with torch.no_grad():
        network.logvar.copy_(2 * torch.tensor([0.02, 0.05, 0.1]).log())
    _, std = outputs(network, states())
    assert_close(std, torch.tensor([0.02, 0.05, 0.1]).expand(6, 4, 3))
    std.sum().backward()
    assert (network.logvar.grad > 0).all()


@settings(max_examples=25)
@given(st.floats(-50, 50), st.sampled_from([{}, STATE_DEPENDENT | {"residual": False}]))
def test_std_stays_within_its_bounds(logvar, config):
    network = head(**config)
    with torch.no_grad():
        if network.logvar is not None:
            network.logvar.fill_(logvar)
        else:
            network.mlp_logvar.moduleList[0].linear_1.bias.fill_(logvar)
    _, std = outputs(network, states())
    assert std.min() >= 0.01 * (1 - 1e-5)
    assert std.max() <= 0.2 * (1 + 1e-5)


@pytest.mark.parametrize(("beyond", "sign"), [(0.5, 1), (0.001, -1)])
def test_a_learned_std_beyond_its_bounds_comes_back_but_goes_no_further(beyond, sign):
    network = head(std_min=0.01, std_max=0.2)
    network.logvar.data.fill_(2 * math.log(beyond))
    mean = torch.zeros(1, 4, 3)
    for direction in (sign, -sign):
        network.logvar.grad = None
        (direction * network.std(mean).sum()).backward()
        assert bool(network.logvar.grad.any()) == (direction == sign)


@pytest.mark.parametrize("config", [{}, STATE_DEPENDENT | {"residual": False}])
def test_bounds_get_no_gradient(config):
    network = head(**config)
    mean, std = outputs(network, states())
    (mean.sum() + std.sum()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert not any(buffer.requires_grad for buffer in network.buffers())


def test_tanh_bounds_the_mean():
    obs = {"state": 1e3 * states()["state"]}
    assert outputs(head(), obs)[0].abs().max() <= 1
    assert outputs(head(tanh_output=False), obs)[0].abs().max() > 1


@pytest.mark.parametrize("use_layernorm", [False, True])
@pytest.mark.parametrize("residual", [False, True])
def test_base_ends_with_norm_and_activation(residual, use_layernorm):
    torch.manual_seed(0)
    base = build_base([5, 16, 8], "ReLU", residual=residual, use_layernorm=use_layernorm)
    out = base(torch.randn(64, 5))
    assert out.shape == (64, 8)
    assert out.min() == 0 < out.max()
    state = base.state_dict()
    norm = "layers.2.weight" if residual else "moduleList.1.norm_1.weight"
    assert (norm in state) == use_layernorm


def test_residual_head_with_state_dependent_std_has_a_base_of_one_width_more():
    network = head(mlp_dims=(16, 16, 16, 8), **STATE_DEPENDENT)
    assert outputs(network, states())[1].shape == (6, 4, 3)
    assert network.mlp_mean.moduleList[0].linear_1.in_features == 8


def test_an_empty_batch_gives_an_empty_chunk():
    mean, std = outputs(head(), states(0))
    assert mean.shape == std.shape == (0, 4, 3)


def test_std_keeps_its_precision_where_the_network_computes_in_less():
    network = head(learn_fixed_std=False)
    with torch.autocast("cpu", torch.bfloat16):
        mean, std = outputs(network, states())
    assert mean.dtype == torch.bfloat16
    assert torch.equal(std, torch.full((6, 4, 3), 0.1))


def test_defaults_are_those_of_the_authors_robomimic_policies():
    assert GaussianMLPConfig() == GaussianMLPConfig(
        fixed_std=0.1,
        learn_fixed_std=True,
        std_min=0.01,
        std_max=0.2,
        mlp_dims=(512, 512, 512),
        activation="Mish",
        residual=True,
        use_layernorm=False,
        tanh_output=True,
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fixed_std": 0.0}, "fixed_std=0.0: expected a positive number"),
        ({"fixed_std": None}, "learn_fixed_std=True: expected a fixed_std to start from"),
        ({"fixed_std": 0.5}, "fixed_std=0.5: learning starts there, expected a value in"),
        ({"fixed_std": math.nan}, "fixed_std=nan: expected a positive number"),
        ({"std_min": 0.3}, "std_min=0.3, std_max=0.2: expected 0 < std_min < std_max"),
        ({"std_min": 0.0}, "std_min=0.0, std_max=0.2: expected 0 < std_min < std_max"),
        ({"mlp_dims": ()}, "mlp_dims=[]: expected positive widths"),
        ({"mlp_dims": (8, 0, 8)}, "mlp_dims=[8, 0, 8]: expected positive widths"),
        ({"mlp_dims": (8, 8)}, "mlp_dims=[8, 8]: with residual=True expected an odd number"),
        (STATE_DEPENDENT, "mlp_dims=[512, 512, 512]: with residual=True expected an odd number"),
        ({"activation": "relu"}, "activation='relu': expected one of"),
    ],
)
def test_bad_configuration_is_refused_with_field_and_value(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GaussianMLPConfig(**values)
