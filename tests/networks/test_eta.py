"""Noise levels of DDIM: against the authors' code, where they start, and that they learn."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from golden_tensors import ACTION_DIM, OBS_DIM, assert_close, golden, golden_keys, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo_rllib.networks.eta import Eta, EtaConfig, build_eta

GOLDEN: dict[str, dict[str, Any]] = {
    "eta_fixed1": {"kind": "fixed", "base_eta": 1.0, "learnable": False},
    "eta_fixed.5": {"kind": "fixed"},
    "eta_action": {"kind": "action", "base_eta": 0.6},
    "eta_state": {"kind": "state", "mlp_dims": (8,)},
    "eta_stateaction": {
        "kind": "state_action",
        "mlp_dims": (8,),
        "base_eta": 1.0,
        "min_eta": 1e-3,
        "max_eta": 2.0,
    },
}
KINDS = ("fixed", "action", "state", "state_action")
ALL_KINDS = pytest.mark.parametrize("kind", KINDS)


def eta(**config: Any) -> Eta:
    """A noise level for the observations and actions of the golden models."""
    return build_eta(EtaConfig(**config), cond_dim=OBS_DIM, action_dim=ACTION_DIM)


def observations(rows: int = 4) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return {"state": torch.randn(rows, 1, OBS_DIM, generator=generator)}


def test_every_golden_noise_level_is_compared():
    assert {key.split("/")[1] for key in golden_keys("net/eta_")} == GOLDEN.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_noise_level_is_the_authors(name):
    level = eta(**GOLDEN[name])
    level.load_state_dict(weights(f"net_{name}"), strict=True)
    official = golden(f"net/{name}/out")
    out = level({"state": golden("net/critic_res/in_obs")})
    assert out.shape == (len(official), 1, official.shape[1])
    # Functions of the state were recorded at their start, 1e-4 around `base_eta`.
    torch.testing.assert_close(out.squeeze(1), official, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "checkpoint, config",
    [
        ("ddim100_5_ft5", {"base_eta": 1.0, "learnable": False}),
        ("ddim100_5_ft3_eta.5_epsclip", {}),
    ],
)
def test_noise_level_of_a_checkpoint_is_that_of_the_authors_loss(checkpoint, config):
    level = eta(kind="fixed", **config)
    level.load_state_dict(weights(checkpoint, "eta.", "model"), strict=True)
    case = {"ddim100_5_ft5": "ddim", "ddim100_5_ft3_eta.5_epsclip": "ddim_ft3"}[checkpoint]
    out = golden(f"loss/{case}/out").float()  # … entropy loss is -eta, the last entry eta
    mean = level({"state": golden(f"loss/{case}/obs")}).mean()
    assert_close(-mean, out[1])
    assert_close(mean, out[7])


@settings(max_examples=30)
@given(
    st.sampled_from(KINDS),
    st.tuples(*[st.floats(0.01, 2.0)] * 3).map(sorted).filter(lambda v: v[0] < v[1] < v[2]),
)
def test_noise_level_starts_at_its_base(kind, levels):
    low, base, high = levels
    level = eta(kind=kind, base_eta=base, min_eta=low, max_eta=high)
    out = level(observations())
    torch.testing.assert_close(out, torch.full_like(out, base), rtol=1e-5, atol=1e-6)


@ALL_KINDS
@pytest.mark.parametrize("bound", [0.1, 1.0])
def test_a_constant_may_lie_on_a_bound(kind, bound):
    level = eta(kind=kind, base_eta=bound, learnable=False)
    out = level(observations())
    assert torch.equal(out, torch.full_like(out, bound))
    assert not out.requires_grad


@ALL_KINDS
@pytest.mark.parametrize("bound", [0.1, 1.0])
def test_noise_level_stays_within_its_bounds_whatever_the_weights(kind, bound):
    level = eta(kind=kind)
    far = 50.0 if bound == 1.0 else -50.0
    last = level.eta_logit if kind in ("fixed", "action") else level.mlp_res.moduleList[-1][0].bias
    torch.nn.init.constant_(last, far)
    out = level(observations())
    assert torch.equal(out, torch.full_like(out, bound))


@ALL_KINDS
def test_noise_level_has_a_row_per_observation_and_meets_chunks(kind):
    level = eta(kind=kind)
    width = ACTION_DIM if kind in ("action", "state_action") else 1
    for rows in (1, 5):
        assert level(observations(rows)).shape == (rows, 1, width)


@pytest.mark.parametrize("kind", ["state", "state_action"])
def test_only_a_function_of_the_state_differs_between_states(kind):
    torch.manual_seed(0)  # some weights put every state at the lowest level there is
    level = eta(kind=kind)
    torch.nn.init.normal_(level.mlp_res.moduleList[-1][0].weight, std=0.1)
    out = level(observations())
    assert ((out[0] - out[1]).abs() > 1e-3).all()
    history = {"state": observations()["state"].expand(-1, 2, -1)}
    with pytest.raises(RuntimeError, match="shape"):
        level(history)


@ALL_KINDS
@pytest.mark.parametrize("target", [0.3, 0.8])
def test_noise_level_learns(kind, target):
    torch.manual_seed(0)
    level = eta(kind=kind)
    optimizer = torch.optim.Adam(level.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        (level(observations()) - target).square().mean().backward()
        optimizer.step()
    out = level(observations())
    torch.testing.assert_close(out, torch.full_like(out, target), rtol=0, atol=0.02)


@ALL_KINDS
def test_gradients_are_the_finite_differences(kind):
    torch.manual_seed(0)
    level = eta(kind=kind, activation="Mish", mlp_dims=(4,)).double()
    for parameter in level.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    obs = {"state": observations()["state"].double()}
    names = [name for name, _ in level.named_parameters()]

    def out(*parameters: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(level, dict(zip(names, parameters, strict=True)), (obs,))

    assert torch.autograd.gradcheck(out, tuple(level.parameters()))


@pytest.mark.parametrize("kind", ["state", "state_action"])
@pytest.mark.parametrize("base, outside", [(1.0, 0.5), (0.1, -0.5)])
def test_a_function_of_the_state_comes_back_from_beyond_its_bounds(kind, base, outside):
    level = eta(kind=kind, base_eta=base)
    bias = level.mlp_res.moduleList[-1][0].bias
    torch.nn.init.constant_(bias, outside)
    for direction in (outside, -outside):  # of descent: further out, and back inside
        level.zero_grad()
        (-direction * level(observations())).sum().backward()
        moves = -bias.grad
        assert (moves == 0).all() if direction == outside else (moves * direction > 0).all()


@pytest.mark.parametrize("kind", ["fixed", "action"])
@pytest.mark.parametrize("base", [0.1, 1.0])
def test_a_learnable_logit_cannot_start_on_a_bound(kind, base):
    with pytest.raises(ValueError, match=rf"base_eta={base}: .*learnable=False"):
        EtaConfig(kind=kind, base_eta=base)


def test_an_infinite_logit_loads_as_a_constant_only():
    official = weights("ddim100_5_ft5", "eta.", "model")
    assert official["eta_logit"].item() == math.inf
    constant = eta(kind="fixed", base_eta=0.5, learnable=False)
    constant.load_state_dict(official, strict=True)
    assert (constant(observations()) == 1.0).all()
    with pytest.raises(ValueError, match=r"eta_logit=\[inf\]: .*learnable=False"):
        eta(kind="fixed", base_eta=0.5).load_state_dict(official, strict=True)


@pytest.mark.parametrize(
    "field, value",
    [
        ("kind", "states"),
        ("min_eta", 0.0),
        ("min_eta", math.nan),
        ("max_eta", 0.1),
        ("max_eta", math.inf),
        ("base_eta", 0.05),
        ("base_eta", 1.2),
        ("base_eta", math.nan),
        ("mlp_dims", ()),
        ("mlp_dims", (8, 0)),
        ("activation", "Swish"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field, value):
    shown = list(value) if isinstance(value, tuple) else value
    with pytest.raises(ValueError, match=re.escape(f"{field}={shown!r}: expected")):
        replace(EtaConfig(), **{field: value})
