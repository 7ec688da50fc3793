"""Heads on a transformer: the authors' layout, who attends to whom, initial weights, refusals."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from golden_tensors import assert_close
from torch import Tensor, nn

from dppo_rllib.networks.observation import ObservationSpec
from dppo_rllib.networks.transformer import (
    ChunkTransformer,
    GaussianTransformer,
    GaussianTransformerConfig,
    GMMTransformer,
    GMMTransformerConfig,
    TransformerConfig,
)

STATE_DEPENDENT: dict[str, Any] = {"fixed_std": None, "learn_fixed_std": False}
# What the authors' code has for cond_dim 5, horizon 4, action_dim 3, 2 layers, 8 wide.
TRUNK = {
    "transformer.cond_pos_emb": (1, 1, 8),
    "transformer.pos_emb": (1, 4, 8),
    "transformer.cond_obs_emb.weight": (8, 5),
    "transformer.cond_obs_emb.bias": (8,),
    "transformer.encoder.0.weight": (32, 8),
    "transformer.encoder.0.bias": (32,),
    "transformer.encoder.2.weight": (8, 32),
    "transformer.encoder.2.bias": (8,),
    "transformer.ln_f.weight": (8,),
    "transformer.ln_f.bias": (8,),
}
LAYER = {
    "self_attn.in_proj_weight": (24, 8),
    "self_attn.in_proj_bias": (24,),
    "self_attn.out_proj.weight": (8, 8),
    "self_attn.out_proj.bias": (8,),
    "multihead_attn.in_proj_weight": (24, 8),
    "multihead_attn.in_proj_bias": (24,),
    "multihead_attn.out_proj.weight": (8, 8),
    "multihead_attn.out_proj.bias": (8,),
    "linear1.weight": (32, 8),
    "linear1.bias": (32,),
    "linear2.weight": (8, 32),
    "linear2.bias": (8,),
    "norm1.weight": (8,),
    "norm1.bias": (8,),
    "norm2.weight": (8,),
    "norm2.bias": (8,),
    "norm3.weight": (8,),
    "norm3.bias": (8,),
}
LAYERS = {f"transformer.decoder.layers.{i}.{k}": s for i in range(2) for k, s in LAYER.items()}
BOUNDS: dict[str, tuple[int, ...]] = {"logvar_min": (), "logvar_max": ()}
MODES_HEAD = {"modes_head.weight": (2, 32), "modes_head.bias": (2,)}


def output_layer(out: int) -> dict[str, tuple[int, ...]]:
    return {"transformer.head.weight": (out, 8), "transformer.head.bias": (out,)}


SIZE: dict[str, Any] = {"embed_dim": 8, "num_heads": 2, "num_layers": 2}


def gaussian(**config: Any) -> GaussianTransformer:
    torch.manual_seed(0)
    return GaussianTransformer(
        GaussianTransformerConfig(**SIZE, **config),
        ObservationSpec(5),
        horizon_steps=4,
        action_dim=3,
    )


def mixture(**config: Any) -> GMMTransformer:
    torch.manual_seed(0)
    return GMMTransformer(
        GMMTransformerConfig(**SIZE, num_modes=2, **config),
        ObservationSpec(5),
        horizon_steps=4,
        action_dim=3,
    )


def outputs(network: nn.Module, state: Tensor) -> Any:
    return network(network.encode({"state": state}))


@pytest.mark.parametrize(
    ("network", "own"),
    [
        (gaussian(), {"logvar": (3,)} | output_layer(3)),
        (gaussian(learn_fixed_std=False), output_layer(3)),
        (gaussian(**STATE_DEPENDENT), output_layer(6)),
        (mixture(), {"logvar": (6,)} | output_layer(6) | MODES_HEAD),
        (mixture(learn_fixed_std=False), output_layer(6) | MODES_HEAD),
        (mixture(**STATE_DEPENDENT), output_layer(12) | MODES_HEAD),
    ],
)
def test_weights_have_the_authors_names_and_shapes(network, own):
    shapes = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert shapes == TRUNK | LAYERS | BOUNDS | own


@pytest.mark.parametrize(
    ("network", "name", "value"),
    [
        (gaussian(), "logvar", [-4.6051702] * 3),
        (mixture(), "logvar", [-4.6051702] * 6),
        (gaussian(), "logvar_min", -9.2103405),
        (gaussian(), "logvar_max", -3.2188759),
    ],
)
def test_variances_start_as_the_authors_do(network, name, value):
    assert_close(network.state_dict()[name], torch.tensor(value))


@pytest.mark.parametrize("config", [{}, {"learn_fixed_std": False}, STATE_DEPENDENT])
def test_gaussian_head_gives_a_mean_and_a_std_per_action(config):
    mean, std = outputs(gaussian(**config), torch.randn(6, 1, 5))
    assert mean.shape == std.shape == (6, 4, 3)
    assert mean.abs().max() <= 1
    assert std.min() > 0


@pytest.mark.parametrize("config", [{}, {"learn_fixed_std": False}, STATE_DEPENDENT])
def test_mixture_head_gives_modes_and_weights(config):
    means, stds, logits = outputs(mixture(**config), torch.randn(6, 1, 5))
    assert means.shape == stds.shape == (6, 2, 4, 3)
    assert logits.shape == (6, 2)
    assert means.abs().max() <= 1


def test_mixture_output_is_ordered_by_action_then_mode_then_dimension():
    network = mixture(**STATE_DEPENDENT)
    means = torch.linspace(-0.9, 0.9, 6)
    logvars = torch.linspace(-8.0, -4.0, 6)
    with torch.no_grad():
        network.transformer.head.weight.zero_()
        network.transformer.head.bias.copy_(torch.cat([means, logvars]))
    got_means, got_stds, _ = outputs(network, torch.randn(1, 1, 5))
    for step in range(4):
        assert_close(got_means[0, :, step].flatten(), means.tanh())
        assert_close(got_stds[0, :, step].flatten(), (0.5 * logvars).exp())


def test_weights_of_modes_depend_on_the_token_of_every_action():
    network = mixture()
    tokens = torch.randn(1, 4, 8, requires_grad=True)
    network.modes_head(tokens.flatten(1)).sum().backward()
    assert (tokens.grad.abs().sum(-1) > 0).all()
    *_, logits = outputs(network, torch.randn(1, 1, 5))
    _, seen = network.transformer(torch.zeros(1, 5))
    assert seen.shape == (1, 4, 8)
    assert logits.shape == (1, 2)


@pytest.mark.parametrize("build", [gaussian, mixture])
@pytest.mark.parametrize("config", [{}, STATE_DEPENDENT])
def test_gradient_reaches_all_but_what_chooses_among_observation_tokens(build, config):
    """There is a single such token, so that nothing depends on queries and keys of it."""
    network = build(**config)
    with torch.no_grad():  # away from the bounds of the variance, and from symmetric weights
        for parameter in network.transformer.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        if network.state_dependent_std:
            half = len(network.transformer.head.bias) // 2
            network.transformer.head.bias[half:] -= 6
    generator = torch.Generator().manual_seed(0)
    loss = 0
    for part in outputs(network, torch.randn(16, 1, 5, generator=generator)):
        loss = loss + (part * torch.randn(part.shape, generator=generator)).sum()
    loss.backward()
    unreached = {name for name, p in network.named_parameters() if p.grad.abs().sum() == 0}
    layers = network.transformer.decoder.layers
    assert unreached == {
        f"transformer.decoder.layers.{i}.norm2.{part}"
        for i in range(len(layers))
        for part in ("weight", "bias")
    }
    for layer in layers:
        queries, keys, values = layer.multihead_attn.in_proj_weight.grad.abs().sum(1).split(8)
        assert queries.sum() == keys.sum() == 0 < values.min()


def trunk() -> ChunkTransformer:
    torch.manual_seed(0)
    network = ChunkTransformer(TransformerConfig(**SIZE), 5, horizon_steps=4, out_dim=3)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return network


def test_every_action_attends_to_every_other():
    """There is no mask: changing the token of one action changes the output of all."""
    network, features = trunk(), torch.randn(1, 5)
    before, _ = network(features)
    for step in range(4):
        changed = trunk()
        with torch.no_grad():
            changed.pos_emb[:, step] += torch.randn(8)
        after, _ = changed(features)
        assert ((after - before).abs().sum(-1) > 1e-4).all()


def test_exchanging_the_tokens_of_two_actions_exchanges_their_outputs():
    """An action's place in the chunk is told by its token alone."""
    network, features = trunk(), torch.randn(3, 5)
    before, _ = network(features)
    order = torch.tensor([2, 1, 0, 3])
    with torch.no_grad():
        network.pos_emb.copy_(network.pos_emb[:, order])
    assert_close(network(features)[0], before[:, order])


def test_rows_of_a_batch_do_not_mix():
    network, features = trunk(), torch.randn(5, 5)
    together, _ = network(features)
    assert_close(together, torch.cat([network(row[None])[0] for row in features]))


def test_output_depends_on_the_observation():
    network = trunk()
    first, _ = network(torch.zeros(1, 5))
    second, _ = network(torch.ones(1, 5))
    assert ((first - second).abs().sum(-1) > 1e-4).all()


def test_training_mode_changes_nothing():
    network, features = trunk(), torch.randn(2, 5)
    assert_close(network.train()(features)[0], network.eval()(features)[0])


def test_weights_start_small_and_biases_at_zero():
    torch.manual_seed(0)
    network = ChunkTransformer(TransformerConfig(), 23, horizon_steps=4, out_dim=7)
    for name, value in network.named_parameters():
        if "norm" in name or name.startswith("ln_f"):
            assert torch.equal(value, torch.full_like(value, float(name.endswith("weight"))))
        elif name.endswith("bias"):
            assert torch.equal(value, torch.zeros_like(value))
        else:
            assert value.std().item() == pytest.approx(0.02, rel=0.25), name


def test_defaults_are_those_of_the_authors_robomimic_policies():
    size = {"embed_dim": 96, "num_heads": 4, "num_layers": 4, "activation": "gelu"}
    std = {"fixed_std": 0.1, "learn_fixed_std": True, "std_min": 0.01, "std_max": 0.2}
    assert GaussianTransformerConfig() == GaussianTransformerConfig(**size, **std)
    assert GMMTransformerConfig() == GMMTransformerConfig(**size, **std, num_modes=5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"embed_dim": 10}, "embed_dim=10: expected a multiple of num_heads=4"),
        ({"num_heads": 0}, "num_heads=0: expected at least 1"),
        ({"num_layers": 0}, "num_layers=0: expected at least 1"),
        ({"activation": "GELU"}, "activation='GELU': expected one of"),
        ({"num_modes": 0}, "num_modes=0: expected at least 1"),
        ({"fixed_std": 0.0}, "fixed_std=0.0: expected a positive number"),
    ],
)
def test_bad_configuration_is_refused_with_field_and_value(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GMMTransformerConfig(**values)
