"""MLP denoisers and critics against the authors' code, with their weights strictly loaded."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_tensors import (
    MODELS,
    assert_close,
    critic,
    diffusion_mlp,
    golden,
    golden_keys,
    weights,
)

from dppo_rllib.checkpoints.official_file import native_keys

DENOISERS: dict[str, dict[str, Any]] = {
    "mlp_res_relu": {},
    "mlp_plain_mish_ln": {"residual": False, "activation": "Mish", "use_layernorm": True},
    "mlp_res_ln": {"use_layernorm": True, "activation": "Mish", "mlp_dims": (32,) * 5},
    "mlp_condmlp_2obs": {"cond_steps": 2, "cond_mlp_dims": (16, 8)},
}
CRITICS: dict[str, dict[str, Any]] = {
    "critic_res": {},
    "critic_plain_ln": {"residual": False, "use_layernorm": True},
}


def test_every_golden_mlp_and_critic_is_compared():
    found = {key.split("/")[1] for key in golden_keys("net/mlp_") + golden_keys("net/critic_")}
    assert found == DENOISERS.keys() | CRITICS.keys()


@pytest.mark.parametrize("name", DENOISERS)
def test_denoiser_output_is_the_authors(name):
    network = diffusion_mlp(weights(f"net_{name}"), **DENOISERS[name])
    x, timesteps, obs = (golden(f"net/{name}/in_{key}") for key in ("x", "t", "obs"))
    output = network(x, network.embed_time(timesteps), network.encode({"state": obs}))
    assert_close(output, golden(f"net/{name}/out0"))


@pytest.mark.parametrize("name", CRITICS)
def test_values_are_the_authors(name):
    network = critic(weights(f"net_{name}"), **CRITICS[name])
    values = network({"state": golden(f"net/{name}/in_obs")})
    assert_close(values, golden(f"net/{name}/out0").squeeze(-1))


@pytest.mark.parametrize("name", DENOISERS)
def test_denoiser_has_the_authors_parameters(name):
    official = native_keys(weights(f"net_{name}"))
    network = diffusion_mlp(official, **DENOISERS[name])
    shapes = {key: value.shape for key, value in network.named_parameters()}
    assert shapes == {key: value.shape for key, value in official.items()}
    count = sum(p.numel() for p in network.parameters())
    assert count == sum(value.numel() for value in official.values())


@pytest.mark.parametrize("name", CRITICS)
def test_critic_has_the_authors_parameters(name):
    official = weights(f"net_{name}")
    network = critic(official, **CRITICS[name])
    shapes = {key: value.shape for key, value in network.named_parameters()}
    assert shapes == {key: value.shape for key, value in official.items()}


@pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())
def test_networks_of_a_fine_tuned_checkpoint_load_strictly(model):
    for network in (model.base, model.actor):
        assert sum(p.numel() for p in network.parameters()) == 3620
    values = critic(weights(model.name, "critic.", "model"))
    assert sum(p.numel() for p in values.parameters()) == 657


def test_weights_of_another_architecture_are_refused():
    with pytest.raises(RuntimeError, match="Unexpected key|Missing key"):
        diffusion_mlp(weights("net_mlp_res_ln"))
    with pytest.raises(RuntimeError, match="size mismatch"):
        diffusion_mlp(weights("net_mlp_res_relu"), cond_steps=2)
    with pytest.raises(RuntimeError, match="Missing key"):
        critic({})


def test_loaded_weights_are_those_of_the_checkpoint():
    official = weights("net_mlp_res_relu")
    state = diffusion_mlp(official).state_dict()
    assert state.keys() == official.keys()
    assert all(torch.equal(state[key], official[key]) for key in official)
