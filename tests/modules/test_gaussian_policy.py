"""The Gaussian policy: likelihood and objective of the authors, sampling, configuration."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from golden_tensors import assert_close, critic, golden, golden_layout, weights
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from dppo_rllib.algorithms.ppo_loss import normalized_advantages, policy_loss, value_loss
from dppo_rllib.checkpoints.official_file import native_keys
from dppo_rllib.modules.gaussian_policy import GaussianPolicy, GaussianPolicyConfig
from dppo_rllib.modules.policy import ChunkPolicy, PolicyConfig
from dppo_rllib.networks.gaussian import GaussianMLPConfig
from dppo_rllib.networks.observation import ObservationSpec, VisionConfig
from dppo_rllib.networks.transformer import GaussianTransformerConfig

STATE_DEPENDENT: dict[str, Any] = {"fixed_std": None, "learn_fixed_std": False}
CASES: dict[str, dict[str, Any]] = {
    "gauss_fixedstd": {"activation": "ReLU"},
    "gauss_const": {"learn_fixed_std": False, "std_max": 1.0},
    "gauss_learned": STATE_DEPENDENT | {"residual": False, "std_max": 1.0},
    "gauss_learned_notanh": STATE_DEPENDENT
    | {"residual": False, "std_max": 1.0, "tanh_output": False, "use_layernorm": True},
}
CLIP = 0.1  # of the golden objective
VALUE_CLIP = {"gauss_fixedstd": 0.2}


def policy(network: Any = None, **config: Any) -> GaussianPolicy:
    torch.manual_seed(0)
    network = network or GaussianMLPConfig(mlp_dims=(32, 32, 32))
    values: dict[str, Any] = {"obs_dim": 5, "action_dim": 3, "fine_tuned": True}
    return GaussianPolicy(GaussianPolicyConfig(network=network, **(values | config)))


def official(name: str) -> GaussianPolicy:
    """The authors' fine-tuned policy: `actor` is the base, `actor_ft` its fine-tuned copy."""
    ours = policy(GaussianMLPConfig(mlp_dims=(32, 32, 32), **CASES[name]))
    for part in ("actor", "actor_ft"):
        state = native_keys(weights(name, f"{part}.", "model"))
        getattr(ours, part).load_state_dict(state, strict=True)
    return ours


def states(batch: int = 6) -> dict[str, Tensor]:
    return {"state": torch.randn(batch, 1, 5, generator=torch.Generator().manual_seed(1))}


def scores(ours: Any, obs: dict[str, Tensor], chunk: Tensor) -> Tensor:
    nothing = torch.zeros(len(chunk), dtype=torch.long)
    return ours.log_prob(ours.encode(obs), torch.zeros_like(chunk), chunk, nothing)


def golden_obs() -> dict[str, Tensor]:
    return {"state": golden("gauss/obs")}


def gradient_in_layout(network: nn.Module, name: str) -> Tensor:
    """Gradients in the authors' order; theirs of the bounds, which we do not learn, are zeros."""
    own = dict(network.named_parameters())
    parts = []
    for key, shape, _ in golden_layout(f"{name}/actor_ft"):
        gradient = own[key].grad if key in own else None
        parts.append((torch.zeros(shape) if gradient is None else gradient).flatten())
    return torch.cat(parts)


@pytest.mark.parametrize("name", CASES)
def test_likelihood_before_clamping_is_the_authors(name):
    ours = official(name)
    loss = ours.bc_loss(ours.acting, golden_obs(), golden("gauss/actions"), {})
    assert_close(-loss, golden(f"gauss/{name}/logprobs"))


@pytest.mark.parametrize("name", CASES)
def test_log_prob_is_the_clamped_mean(name):
    log_prob = scores(official(name), golden_obs(), golden("gauss/actions"))
    assert_close(log_prob, golden(f"gauss/{name}/logprobs").clamp(-5, 2))


@pytest.mark.parametrize("name", CASES)
def test_entropy_and_std_are_the_authors(name):
    ours = official(name)
    encoded = ours.encode(golden_obs())
    assert_close(ours.entropy(encoded).mean(), golden(f"gauss/{name}/entropy"))
    _, std = encoded.values()
    assert_close(std.mean(), golden(f"gauss/{name}/std"))


@pytest.mark.parametrize("name", CASES)
def test_objective_and_its_gradient_are_the_authors(name):
    ours = official(name)
    advantages = normalized_advantages(
        golden("gauss/advantages"), normalize=True, lower_quantile=0, upper_quantile=1
    )
    objective = policy_loss(
        scores(ours, golden_obs(), golden("gauss/actions")),
        golden(f"gauss/{name}/oldlogprobs").clamp(-5, 2),
        advantages,
        torch.full((24,), CLIP),
    )
    values = critic(weights(name, "critic.", "model"))(golden_obs())
    value = value_loss(
        values, golden("gauss/returns"), golden("gauss/oldvalues"), VALUE_CLIP.get(name)
    )
    pg_loss, entropy_loss, v_loss, clip_fraction, kl, ratio, _, std = golden(
        f"gauss/{name}/loss_out"
    ).float()
    assert_close(objective.loss.mean(), pg_loss)
    assert_close(-ours.entropy(ours.encode(golden_obs())).mean(), entropy_loss)
    assert_close(value.mean(), v_loss)
    assert_close(objective.clipped.mean(), clip_fraction)
    assert_close(objective.approx_kl.mean(), kl)
    assert_close(objective.ratio.mean(), ratio)
    assert_close(ours.encode(golden_obs())["std"].mean(), std)
    objective.loss.mean().backward()
    assert_close(gradient_in_layout(ours.actor_ft, name), golden(f"gauss/{name}/grad_actor_ft"))


@pytest.mark.parametrize("deterministic", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_sampled_chunk_is_the_authors(name, deterministic):
    key = f"gauss/{name}/sample{int(deterministic)}"
    noise = golden(f"{key}_noise").view(1, 24, 4, 3)
    assert noise.abs().max() > 3  # so that the bound on it is seen
    chain = official(name).sample(golden_obs(), noise=noise, deterministic=deterministic)
    assert_close(chain.chunk, golden(key))


def test_a_policy_without_inner_steps_is_a_chunk_policy():
    assert isinstance(policy(), ChunkPolicy)
    assert isinstance(policy().config, PolicyConfig)
    assert policy().chain_steps == 1


def test_chain_leads_from_zeros_to_the_chunk():
    chain = policy().sample(states())
    assert chain.x.shape == (6, 2, 4, 3)
    assert chain.log_probs.shape == (6, 1)
    assert not chain.x[:, 0].any()
    assert torch.equal(chain.chunk, chain.x[:, 1])


def test_chain_is_reproducible_from_injected_noise():
    ours, obs = policy(), states()
    noise = ours.draw_noise(6, torch.Generator().manual_seed(3))
    again = ours.draw_noise(6, torch.Generator().manual_seed(3))
    assert noise.shape == (1, 6, 4, 3)
    assert torch.equal(noise, again)
    first, second = ours.sample(obs, noise=noise), ours.sample(obs, noise=again)
    assert torch.equal(first.x, second.x)
    rows = {"state": obs["state"][2:4]}
    assert_close(ours.sample(rows, noise=noise[:, 2:4]).x, first.x[2:4])


@pytest.mark.parametrize("deterministic", [False, True])
def test_log_probs_of_sampling_are_those_of_scoring(deterministic):
    ours, obs = policy(), states()
    chain = ours.sample(obs, deterministic=deterministic)
    assert_close(chain.log_probs[:, 0], scores(ours, obs, chain.chunk))


@settings(max_examples=20)
@given(st.floats(0.1, 5))
def test_chunk_is_within_the_bound_of_the_mean(bound):
    ours, obs = policy(randn_clip_value=bound), states()
    mean, std = ours.encode(obs).values()
    noise = 10 * torch.randn(1, 6, 4, 3)
    distance = (ours.sample(obs, noise=noise).chunk - mean).abs() / std
    assert distance.max() <= bound * (1 + 1e-4)


def test_without_a_bound_noise_is_taken_as_it_is():
    ours, obs = policy(randn_clip_value=None), states()
    mean, std = ours.encode(obs).values()
    noise = torch.full((1, 6, 4, 3), 10.0)
    assert_close(ours.sample(obs, noise=noise).chunk, mean + 10 * std)


def test_only_executed_actions_count_in_log_prob_and_entropy():
    ours, obs = policy(act_steps=2, network=GaussianMLPConfig(mlp_dims=(32, 32, 32))), states()
    chunk = ours.sample(obs).chunk
    changed = torch.cat([chunk[:, :2], chunk[:, 2:] + 1], dim=1)
    assert torch.equal(scores(ours, obs, chunk), scores(ours, obs, changed))
    assert not torch.equal(
        ours.bc_loss(ours.actor, obs, chunk, {}), ours.bc_loss(ours.actor, obs, changed, {})
    )


def test_executed_actions_are_scored_by_their_own_std():
    config = GaussianMLPConfig(mlp_dims=(32,), residual=False, **STATE_DEPENDENT)
    ours, obs = policy(config, act_steps=2), states()
    mean, std = ours.encode(obs).values()
    normal = torch.distributions.Normal(mean[:, :2], std[:, :2])
    chunk = ours.sample(obs).chunk
    expected = normal.log_prob(chunk[:, :2]).mean(dim=(1, 2)).clamp(-5, 2)
    assert_close(scores(ours, obs, chunk), expected)
    assert_close(ours.entropy(ours.encode(obs)), normal.entropy().mean(dim=(1, 2)))


def test_base_is_frozen_and_fine_tuned_copy_starts_as_it():
    ours, obs = policy(), states()
    assert not any(p.requires_grad for p in ours.actor.parameters())
    assert all(p.requires_grad for p in ours.actor_ft.parameters())
    noise = ours.draw_noise(6)
    assert torch.equal(
        ours.sample(obs, noise=noise).x, ours.base_chains(obs, torch.arange(6), noise)
    )


def test_base_chains_are_those_of_the_base():
    ours, obs = policy(), states()
    with torch.no_grad():
        for parameter in ours.actor_ft.parameters():
            parameter.add_(0.1)
    noise = ours.draw_noise(6)
    base = ours.base_chains(obs, torch.arange(6), noise)
    ours.actor_ft.load_state_dict(ours.actor.state_dict())
    assert torch.equal(base, ours.sample(obs, noise=noise).x)


def test_a_policy_that_was_only_pre_trained_acts_with_its_base():
    ours = policy(fine_tuned=False)
    assert ours.acting is ours.actor
    assert not hasattr(ours, "actor_ft")
    assert all(p.requires_grad for p in ours.actor.parameters())


def test_cloning_loss_needs_no_draws_and_reaches_the_network():
    ours = policy(fine_tuned=False)
    draws = ours.draw_bc(6, torch.Generator())
    assert draws == {}
    loss = ours.bc_loss(ours.actor, states(), torch.zeros(6, 4, 3), draws)
    assert loss.shape == (6,)
    loss.mean().backward()
    assert all(p.grad is not None for p in ours.actor.parameters())


def test_log_prob_of_low_precision_networks_is_float32():
    ours, obs = policy(), states()
    chunk = ours.sample(obs).chunk
    exact = scores(ours, obs, chunk)
    with torch.autocast("cpu", torch.bfloat16):
        rough = scores(ours, obs, chunk)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


def test_a_transformer_acts_and_learns_through_the_same_interface():
    size: dict[str, Any] = {"embed_dim": 8, "num_heads": 2, "num_layers": 1}
    ours, obs = policy(GaussianTransformerConfig(**size)), states()
    chain = ours.sample(obs)
    log_prob = scores(ours, obs, chain.chunk)
    assert_close(chain.log_probs[:, 0], log_prob)
    log_prob.sum().backward()
    assert ours.actor_ft.transformer.head.weight.grad.abs().sum() > 0


def test_a_policy_on_pictures_samples_and_scores():
    vision = VisionConfig(embed_dim=8, num_heads=2, spatial_emb=4, num_cameras=2)
    ours = policy(image_shape=(6, 24, 24), vision=vision)
    rgb = torch.randint(256, (6, 1, 6, 24, 24), dtype=torch.uint8)
    obs = states() | {"rgb": rgb}
    chain = ours.sample(obs)
    assert_close(chain.log_probs[:, 0], scores(ours, obs, chain.chunk))
    other = ours.sample(states() | {"rgb": 255 - rgb}, noise=torch.zeros(1, 6, 4, 3)).chunk
    assert not torch.equal(other, ours.sample(obs, noise=torch.zeros(1, 6, 4, 3)).chunk)


def test_observation_spec_follows_from_the_configuration():
    vision = VisionConfig(embed_dim=8, num_heads=2)
    config = GaussianPolicyConfig(5, 3, cond_steps=2, image_shape=(3, 24, 24), vision=vision)
    assert config.observation_spec == ObservationSpec(10, (3, 24, 24), vision)


@pytest.mark.parametrize(
    "config",
    [
        GaussianPolicyConfig(5, 3),
        GaussianPolicyConfig(
            5,
            3,
            cond_steps=2,
            fine_tuned=True,
            randn_clip_value=None,
            image_shape=(3, 24, 24),
            vision=VisionConfig(embed_dim=8, num_heads=2),
            network=GaussianTransformerConfig(embed_dim=8, num_heads=2),
        ),
    ],
)
def test_configuration_survives_json(config):
    values = json.loads(json.dumps(config.to_dict()))
    assert GaussianPolicyConfig.from_dict(values) == config


def test_network_without_a_type_is_an_mlp():
    config = GaussianPolicyConfig.from_dict(
        {"obs_dim": 5, "action_dim": 3, "network": {"mlp_dims": [8]}}
    )
    assert config.network == GaussianMLPConfig(mlp_dims=(8,))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ft_denoising_steps": 1}, "GaussianPolicyConfig.ft_denoising_steps: unknown field"),
        ({"network": {"depth": 1}}, "GaussianMLPConfig.depth: unknown field"),
        ({"network": {"type": "unet"}}, "network.type='unet': expected one of"),
        ({"network": {"type": "transformer", "mlp_dims": [8]}}, "mlp_dims: unknown field"),
        ({"vision": {"patch": 8}}, "VisionConfig.patch: unknown field"),
    ],
)
def test_unknown_fields_are_refused(change, message):
    values = GaussianPolicyConfig(5, 3).to_dict() | change
    with pytest.raises(ValueError, match=re.escape(message)):
        GaussianPolicyConfig.from_dict(values)


def test_missing_fields_are_refused():
    values = GaussianPolicyConfig(5, 3).to_dict()
    del values["obs_dim"]
    with pytest.raises(ValueError, match="GaussianPolicyConfig: .*obs_dim"):
        GaussianPolicyConfig.from_dict(values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"obs_dim": 0}, "obs_dim=0: expected at least 1"),
        ({"act_steps": 5}, "act_steps=5: a policy that predicts horizon_steps=4"),
        ({"randn_clip_value": 0.0}, "randn_clip_value=0.0: expected a positive number, or None"),
        ({"image_shape": (3, 24, 24)}, "vision=None: observations have pictures"),
    ],
)
def test_bad_configuration_is_refused_with_field_and_value(values, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GaussianPolicyConfig(**({"obs_dim": 5, "action_dim": 3} | values))
