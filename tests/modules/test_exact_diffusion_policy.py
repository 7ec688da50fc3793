"""The diffusion policy that scores chunks by their likelihood."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dppo_rllib.denoising import DenoisingConfig, ExactLikelihoodConfig
from dppo_rllib.modules import (
    DiffusionPolicy,
    DiffusionPolicyConfig,
    build_policy,
    policy_config_from_dict,
)
from dppo_rllib.modules.exact_diffusion_policy import (
    ExactDiffusionPolicy,
    ExactDiffusionPolicyConfig,
    pack_signs,
    unpack_signs,
)
from dppo_rllib.modules.policy import ChunkPolicy
from dppo_rllib.networks import DiffusionMLPConfig, VisionConfig

STEPS, FT_STEPS, PROBES, BATCH = 4, 2, 3, 6
NETWORK = DiffusionMLPConfig(mlp_dims=(16, 16, 16), time_dim=8, activation="Mish")
SHAPES: dict[str, Any] = {"obs_dim": 2, "action_dim": 2, "horizon_steps": 3, "act_steps": 2}


def config(cls: Any = ExactDiffusionPolicyConfig, **changes: Any) -> Any:
    values: dict[str, Any] = SHAPES | {
        "network": NETWORK,
        "ft_denoising_steps": FT_STEPS,
        "denoising": DenoisingConfig(denoising_steps=STEPS),
    }
    if cls is ExactDiffusionPolicyConfig:
        values["likelihood"] = ExactLikelihoodConfig(step_size=1 / STEPS, num_probes=PROBES)
    return cls(**(values | changes))


def policy(**changes: Any) -> ExactDiffusionPolicy:
    """Base and fine-tuned network differ."""
    torch.manual_seed(0)
    ours = ExactDiffusionPolicy(config(**changes))
    if ours.config.fine_tuned:
        move(ours.actor_ft)
    return ours


def move(network: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)


def states() -> dict[str, Tensor]:
    return {"state": torch.randn(BATCH, 1, 2, generator=torch.Generator().manual_seed(2))}


def noise_of(ours: Any) -> Tensor:
    return ours.draw_noise(BATCH, torch.Generator().manual_seed(3))


def scores(ours: Any, obs: dict[str, Tensor], x: Tensor) -> Tensor:
    return ours.log_prob(ours.encode(obs), x[:, 0], x[:, 1], torch.zeros(len(x), dtype=torch.long))


# Directions


@settings(max_examples=60)
@given(count=st.integers(1, 24), rows=st.integers(0, 4), seed=st.integers(0, 2**31))
def test_signs_survive_packing(count: int, rows: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-1, 2, (count, rows, 3, 2), generator=generator).float()
    packed = pack_signs(values)
    assert packed.shape == (rows, 3, 2) and packed.dtype == torch.float32
    assert torch.equal(unpack_signs(packed, count), torch.where(values >= 0, 1.0, -1.0))


def test_more_directions_than_a_number_has_bits_are_refused() -> None:
    config(likelihood=ExactLikelihoodConfig(num_probes=24))
    with pytest.raises(ValueError, match="num_probes=25: expected at most 24"):
        config(likelihood=ExactLikelihoodConfig(num_probes=25))


def test_noise_holds_what_acting_takes_and_a_row_for_each_direction() -> None:
    ours = policy()
    noise = noise_of(ours)
    assert noise.shape == (STEPS + 1 + PROBES, BATCH, 3, 2)
    assert torch.equal(noise, noise_of(ours))
    chain = ours.sample(states(), noise=noise)
    signs = torch.where(noise[STEPS + 1 :] >= 0, 1.0, -1.0)
    assert torch.equal(unpack_signs(chain.x[:, 0], PROBES), signs)


# Acting


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("ft_steps", [0, FT_STEPS, STEPS])
def test_it_acts_as_the_diffusion_policy(ft_steps: int, deterministic: bool) -> None:
    ours = policy(ft_denoising_steps=ft_steps)
    same = DiffusionPolicy(config(DiffusionPolicyConfig, ft_denoising_steps=ft_steps))
    same.load_state_dict(ours.state_dict())
    noise, act = noise_of(ours), {"deterministic": deterministic}
    chunk = ours.sample(states(), noise=noise, **act).chunk
    assert torch.equal(chunk, same.sample(states(), noise=noise[: STEPS + 1], **act).chunk)
    rows = torch.arange(BATCH)
    base, expected = (
        p.base_chains(states(), rows, draws)[:, -1]
        for p, draws in ((ours, noise), (same, noise[: STEPS + 1]))
    )
    assert torch.equal(base, expected)


def test_its_chain_is_one_step_to_the_chunk() -> None:
    ours = policy()
    assert isinstance(ours, ChunkPolicy) and ours.chain_steps == 1
    chain = ours.sample(states())
    assert chain.x.shape == (BATCH, 2, 3, 2) and chain.log_probs.shape == (BATCH, 1)
    assert torch.equal(chain.chunk, chain.x[:, 1])


@pytest.mark.parametrize("deterministic", [False, True])
def test_what_nobody_looks_at_is_not_scored(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = policy()
    noise, act = noise_of(ours), {"deterministic": deterministic}
    scored = ours.sample(states(), noise=noise, **act)
    assert scored.log_probs.isfinite().all()
    monkeypatch.setattr(ours, "log_prob", None)
    chain = ours.sample(states(), noise=noise, **act, score=False)
    assert chain.log_probs.isnan().all() and torch.equal(chain.x, scored.x)


# Scoring


@pytest.mark.parametrize("ft_steps", [0, 1, FT_STEPS, STEPS])
def test_log_probs_of_sampling_are_those_of_scoring(ft_steps: int) -> None:
    ours = policy(ft_denoising_steps=ft_steps)
    chain = ours.sample(states())
    log_prob = scores(ours, states(), chain.x)
    torch.testing.assert_close(chain.log_probs[:, 0], log_prob, rtol=1e-5, atol=1e-5)
    assert len(log_prob.detach().unique()) == BATCH


def test_a_row_is_scored_alike_in_any_batch() -> None:
    ours, obs = policy(), states()
    x = ours.sample(obs).x
    whole, part = scores(ours, obs, x), scores(ours, {"state": obs["state"][2:4]}, x[2:4])
    torch.testing.assert_close(whole[2:4], part, rtol=1e-5, atol=1e-5)


def test_log_probs_stay_within_the_bounds_of_all_policies() -> None:
    ours = policy()
    x = ours.sample(states()).x
    x[:, 1] = 50.0
    assert torch.equal(scores(ours, states(), x), torch.full((BATCH,), -5.0))


def test_the_base_takes_the_noisy_levels_and_learns_nothing() -> None:
    ours, obs = policy(), states()
    x = ours.sample(obs).x
    before = scores(ours, obs, x)
    before.sum().backward()
    assert all(p.grad is None for p in ours.actor.parameters())
    assert all(p.grad.any() for p in ours.actor_ft.parameters())
    move(ours.actor)
    assert (scores(ours, obs, x) - before).abs().min() > 1e-4


@pytest.mark.parametrize("ft_steps", [0, STEPS])
def test_a_network_that_takes_all_steps_takes_all_levels(ft_steps: int) -> None:
    ours, obs = policy(ft_denoising_steps=ft_steps), states()
    assert set(ours.encode(obs)) == {"features"}
    x = ours.sample(obs).x
    before = scores(ours, obs, x)
    move(ours.actor)
    assert torch.equal(scores(ours, obs, x), before) == (ft_steps == STEPS)


def test_the_base_sees_pictures_with_its_own_eyes() -> None:
    vision = VisionConfig(embed_dim=8, num_heads=2, spatial_emb=4)
    ours = policy(image_shape=(3, 16, 16), vision=vision)
    rgb = torch.randint(256, (BATCH, 1, 3, 16, 16), dtype=torch.uint8)
    encoded = ours.encode(states() | {"rgb": rgb})
    assert not torch.equal(encoded["features"], encoded["base_features"])
    assert torch.equal(encoded["base_features"], ours.actor.encode(states() | {"rgb": rgb}))
    assert encoded["features"].requires_grad and not encoded["base_features"].requires_grad


def test_it_has_no_entropy() -> None:
    ours = policy()
    with pytest.raises(ValueError, match="entropy: a diffusion policy has one only"):
        ours.entropy(ours.encode(states()))


# Configuration


def test_configuration_survives_json() -> None:
    ours = config(likelihood=ExactLikelihoodConfig(0.25, "midpoint", 5))
    values = json.loads(json.dumps(ours.to_dict()))
    assert values["kind"] == "exact_diffusion"
    assert policy_config_from_dict(values) == ours
    assert isinstance(build_policy(ours), ExactDiffusionPolicy)


def test_likelihoods_are_computed_as_the_authors_do_unless_told_otherwise() -> None:
    values = config().to_dict()
    del values["likelihood"]
    assert ExactDiffusionPolicyConfig.from_dict(values).likelihood == ExactLikelihoodConfig()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"likelihood": {"probes": 1}}, "ExactLikelihoodConfig.probes: unknown field"),
        ({"likelihood": {"step_size": 2.0}}, "step_size=2.0: expected a value in (0, 1]"),
        ({"likelihood": {"method": "dopri5"}}, "method='dopri5': expected one of"),
        ({"likelihood": {"num_probes": 0}}, "num_probes=0: expected at least 1"),
        ({"ft_denoising_steps": 5}, "ft_denoising_steps=5: expected 0 to the sampler's 4 steps"),
        ({"kind": "exact"}, "kind='exact': expected one of"),
    ],
)
def test_bad_configuration_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        policy_config_from_dict(config().to_dict() | change)
