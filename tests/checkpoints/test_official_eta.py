"""DDIM's noise level in the authors' checkpoints: constant, learned, of the state."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from golden_tensors import assert_close, golden, weights
from official_files import StateDict, write_fine_tuned
from torch import Tensor

from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy, save_policy
from dppo_rllib.checkpoints.official import import_official
from dppo_rllib.networks import EtaConfig

CKPT = Path(__file__).parents[1] / "golden" / "ckpt"
NAME = "ddim20_5_ft2_etaaction"
DDIM: dict[str, Any] = {
    "action_dim": 3,
    "denoising_steps": 20,
    "ddim_steps": 5,
    "ft_denoising_steps": 2,
    "activation": "ReLU",
}
RANGE = {"base_eta": 0.5, "min_eta": 0.1, "max_eta": 1.0}


def imported(tmp_path: Path, eta: StateDict, **changes: Any) -> PolicyCheckpoint:
    """The golden policy with another noise level."""
    parts = {part: weights(NAME, f"{part}.", "model") for part in ("network", "actor", "actor_ft")}
    critic = weights(NAME, "critic.", "model")
    path = write_fine_tuned(tmp_path, **parts, critic=critic, eta=eta)
    return import_official(path, **(DDIM | changes))


def level(checkpoint: PolicyCheckpoint, obs: Tensor) -> Tensor:
    return checkpoint.build().encode({"state": obs})["eta"]


@pytest.mark.parametrize("mode", ["sto", "det", "base"])
def test_policy_with_a_noise_level_per_action_samples_the_authors_chains(mode: str):
    policy = import_official(CKPT / f"{NAME}.pt", **DDIM).build()
    obs, noise = {"state": golden("diff/obs")}, golden(f"diff/{NAME}/{mode}/noise")
    if mode == "base":
        chains = policy.base_chains(obs, torch.arange(noise.shape[1]), noise)
    else:
        chains = policy.sample(obs, noise=noise, deterministic=mode == "det").x
    assert_close(chains, golden(f"diff/{NAME}/{mode}/chains"))
    assert_close(chains[:, -1], golden(f"diff/{NAME}/{mode}/trajectories"))


def test_policy_with_a_noise_level_per_action_has_the_authors_log_probs():
    policy = import_official(CKPT / f"{NAME}.pt", **DDIM).build()
    obs = golden("diff/obs").repeat_interleave(2, dim=0)
    chains = golden(f"diff/{NAME}/sto/chains")
    log_prob = policy.log_prob(
        policy.encode({"state": obs}),
        chains[:, :-1].flatten(0, 1),
        chains[:, 1:].flatten(0, 1),
        torch.arange(2).repeat(len(chains)),
    )
    official = golden(f"diff/{NAME}/logprobs_ft")
    assert_close(log_prob, official.clamp(-5, 2).mean(dim=(1, 2)))


def test_noise_level_per_action_becomes_a_learned_one(tmp_path: Path):
    policy = import_official(CKPT / f"{NAME}.pt", **DDIM)
    assert policy.config.learned_eta == EtaConfig("action", 0.55, 0.1, 1.0)
    assert policy.config.denoising.eta == 1
    assumed = {"learned_eta.min_eta": 0.1, "learned_eta.max_eta": 1.0}
    assert policy.provenance["assumed"] == assumed
    loaded = load_policy(save_policy(policy, tmp_path / "policy"))
    assert loaded.config == policy.config
    eta = loaded.component("eta")
    assert torch.equal(eta["eta_logit"], weights(NAME, "eta.", "model")["eta_logit"])


@pytest.mark.parametrize(
    ("name", "kind", "given"),
    [
        ("eta_action", "action", {}),
        ("eta_state", "state", RANGE),
        ("eta_stateaction", "state_action", {"base_eta": 1.0, "min_eta": 1e-3, "max_eta": 2.0}),
    ],
)
def test_learned_noise_level_is_the_authors(
    tmp_path: Path, name: str, kind: str, given: dict[str, float]
):
    checkpoint = imported(tmp_path, weights(f"net_{name}"), learned_eta=given)
    assert checkpoint.config.learned_eta is not None
    assert checkpoint.config.learned_eta.kind == kind
    assert checkpoint.config.learned_eta.learnable
    official = golden(f"net/{name}/out")
    assert_close(level(checkpoint, golden("net/critic_res/in_obs")).squeeze(1), official)


@pytest.mark.parametrize(("name", "eta"), [("eta_fixed1", 1.0), ("eta_fixed.5", 0.5)])
def test_constant_noise_level_is_no_weight(tmp_path: Path, name: str, eta: float):
    checkpoint = imported(tmp_path, weights(f"net_{name}"))
    assert checkpoint.config.learned_eta is None
    assert checkpoint.config.denoising.eta == eta
    assert not checkpoint.component("eta")


def test_noise_level_on_a_bound_stays_there(tmp_path: Path):
    checkpoint = imported(tmp_path, {"eta_logit": torch.full((3,), math.inf)})
    assert checkpoint.config.learned_eta is not None
    assert not checkpoint.config.learned_eta.learnable
    assert torch.equal(level(checkpoint, torch.zeros(2, 1, 5)), torch.ones(2, 1, 3))


LOGITS = {"eta_logit": torch.zeros(3)}


@pytest.mark.parametrize(
    ("eta", "changes", "message"),
    [
        (LOGITS, {"ddim_steps": None}, r"ddim_steps=None: .*\['eta.eta_logit'\].* with DDIM"),
        (LOGITS, {"learned_eta": {"kind": "state"}}, "learned_eta.kind='state': .* of 'action'"),
        (LOGITS, {"learned_eta": {"base": 1}}, "learned_eta.base: unknown field, expected one of"),
        (LOGITS, {"denoising": {"eta": 0.5}}, "eta=0.5: with learned_eta"),
        ({"eta_logit": torch.zeros(1)}, {"learned_eta": RANGE}, "has a constant noise level"),
        ({"eta_logit": torch.zeros(1)}, {"denoising": {"eta": 0.5}}, "eta=0.5: .* with 0.55"),
        ({"eta_logit": torch.zeros(2)}, {}, r"eta.eta_logit is \(2,\).* expected \(3,\)"),
        ({"eta_logit": torch.full((3,), math.nan)}, {}, "eta.eta_logit holds NaN"),
        (LOGITS | {"stray": torch.zeros(1)}, {}, r"unknown keys \['eta.stray'\]"),
        ({"stray": torch.zeros(1)}, {}, "missing key eta.mlp_res"),
        (weights("net_eta_state"), {}, r"do not tell \['base_eta', 'min_eta', 'max_eta'\]"),
    ],
)
def test_noise_level_that_does_not_fit_is_an_error(
    tmp_path: Path, eta: StateDict, changes: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        imported(tmp_path, eta, **changes)


def test_noise_level_needs_weights(tmp_path: Path):
    path = CKPT / "ddpm8_ft4.pt"
    arguments = DDIM | {"denoising_steps": 8, "ddim_steps": None, "ft_denoising_steps": 4}
    with pytest.raises(ValueError, match=r"learned_eta=.* has no eta\.\*"):
        import_official(path, **arguments, learned_eta=RANGE)
