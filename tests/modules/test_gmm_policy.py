"""The mixture policy: likelihood and objective of the authors, choice of the mode, sampling."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import torch
from golden_tensors import assert_close, critic, golden, golden_layout, weights
from torch import Tensor

from dppo_rllib.algorithms.ppo_loss import normalized_advantages, policy_loss, value_loss
from dppo_rllib.checkpoints.official_file import native_keys
from dppo_rllib.modules.gmm_policy import GMMPolicy, GMMPolicyConfig, MixtureChunk
from dppo_rllib.modules.policy import ChunkPolicy, PolicyConfig
from dppo_rllib.networks.gmm import GMMMLPConfig
from dppo_rllib.networks.transformer import GMMTransformerConfig

STATE_DEPENDENT: dict[str, Any] = {"fixed_std": None, "learn_fixed_std": False}
CASES: dict[str, dict[str, Any]] = {
    "gmm_fixedstd": {"num_modes": 3},
    "gmm_learned": STATE_DEPENDENT | {"num_modes": 2, "std_max": 1.0},
}
NUMBERS = 12  # Ta * Da of the golden chunks: the authors' log-probabilities are joint
CLIP = 0.1  # of the golden objective


def policy(network: Any = None, **config: Any) -> GMMPolicy:
    torch.manual_seed(0)
    network = network or GMMMLPConfig(mlp_dims=(32, 32, 32), num_modes=3)
    values: dict[str, Any] = {"obs_dim": 5, "action_dim": 3, "fine_tuned": True}
    return GMMPolicy(GMMPolicyConfig(network=network, **(values | config)))


def official(name: str) -> GMMPolicy:
    """The authors' fine-tuned policy; they keep no base of a mixture."""
    ours = policy(GMMMLPConfig(mlp_dims=(32, 32, 32), **CASES[name]))
    ours.actor_ft.load_state_dict(native_keys(weights(name, "actor_ft.", "model")), strict=True)
    return ours


def states(batch: int = 6) -> dict[str, Tensor]:
    return {"state": torch.randn(batch, 1, 5, generator=torch.Generator().manual_seed(1))}


def golden_obs() -> dict[str, Tensor]:
    return {"state": golden("gauss/obs")}


def scores(ours: Any, obs: dict[str, Tensor], chunk: Tensor) -> Tensor:
    nothing = torch.zeros(len(chunk), dtype=torch.long)
    return ours.log_prob(ours.encode(obs), torch.zeros_like(chunk), chunk, nothing)


def mixture(weights_of_modes: list[float], batch: int = 1, std: float = 0.1) -> MixtureChunk:
    """Modes at 0, 1, 2 … in every number of chunks of one action of one number."""
    modes = len(weights_of_modes)
    means = torch.arange(modes).float().view(1, modes, 1, 1).expand(batch, -1, -1, -1)
    logits = torch.tensor(weights_of_modes).log().expand(batch, -1)
    return MixtureChunk(means, torch.full_like(means, std), logits)


@pytest.mark.parametrize("name", CASES)
def test_likelihood_is_the_authors_joint_one_per_number(name):
    ours = official(name)
    joint = golden(f"gauss/{name}/logprobs")
    loss = ours.bc_loss(ours.acting, golden_obs(), golden("gauss/actions"), {})
    assert_close(-loss * NUMBERS, joint)
    log_prob = scores(ours, golden_obs(), golden("gauss/actions"))
    assert_close(log_prob, (joint / NUMBERS).clamp(-5, 2))


@pytest.mark.parametrize("name", CASES)
def test_entropy_and_std_are_the_authors(name):
    ours = official(name)
    encoded = ours.encode(golden_obs())
    assert_close(ours.entropy(encoded).mean() * NUMBERS, golden(f"gauss/{name}/entropy"))
    _, stds, logits = encoded.values()
    std = (logits.softmax(-1) * stds.mean(dim=(2, 3))).sum(-1).mean()
    assert_close(std, golden(f"gauss/{name}/std"))


@pytest.mark.parametrize("name", CASES)
def test_objective_of_joint_log_probs_is_the_authors_and_learns_nothing(name):
    """All joint log-probabilities lie outside [-5, 2]: the clamp leaves no gradient."""
    ours = official(name)
    loss = ours.bc_loss(ours.acting, golden_obs(), golden("gauss/actions"), {})
    objective = policy_loss(
        (-loss * NUMBERS).clamp(-5, 2),
        golden(f"gauss/{name}/oldlogprobs").clamp(-5, 2),
        normalized_advantages(
            golden("gauss/advantages"), normalize=True, lower_quantile=0, upper_quantile=1
        ),
        torch.full((24,), CLIP),
    )
    values = critic(weights(name, "critic.", "model"))(golden_obs())
    value = value_loss(values, golden("gauss/returns"), golden("gauss/oldvalues"), None)
    pg_loss, _, v_loss, clip_fraction, kl, ratio, _, _ = golden(f"gauss/{name}/loss_out").float()
    assert_close(objective.loss.mean(), pg_loss)
    assert_close(value.mean(), v_loss)
    assert_close(objective.clipped.mean(), clip_fraction)
    assert_close(objective.approx_kl.mean(), kl)
    assert_close(objective.ratio.mean(), ratio)
    objective.loss.mean().backward()
    assert all(not p.grad.any() for p in ours.actor_ft.parameters())
    assert not golden(f"gauss/{name}/grad_actor_ft").any()


@pytest.mark.parametrize("name", CASES)
def test_log_prob_per_number_does_learn(name):
    ours = official(name)
    chunk = ours.sample(golden_obs()).chunk
    scores(ours, golden_obs(), chunk).sum().backward()
    moved = {key for key, p in ours.actor_ft.named_parameters() if p.grad.any()}
    assert {key.split(".")[0] for key in moved} >= {"mlp_mean", "mlp_weights"}


def test_golden_layout_is_that_of_the_fine_tuned_actor():
    for name in CASES:
        own = official(name).actor_ft.state_dict()
        layout = {key: shape for key, shape, _ in golden_layout(f"{name}/actor_ft")}
        assert {key: list(value.shape) for key, value in own.items()} == layout


def test_log_density_is_that_of_torch():
    ours, obs = policy(), states()
    means, stds, logits = ours.encode(obs).values()
    chunk = ours.sample(obs).chunk
    reference = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Independent(torch.distributions.Normal(means, stds), 2),
    )
    assert_close(-ours.bc_loss(ours.acting, obs, chunk, {}), reference.log_prob(chunk) / NUMBERS)


def test_density_of_executed_actions_is_the_marginal_one():
    ours, obs = policy(act_steps=2), states()
    chunk = ours.sample(obs).chunk
    changed = torch.cat([chunk[:, :2], chunk[:, 2:] + 1], dim=1)
    assert torch.equal(scores(ours, obs, chunk), scores(ours, obs, changed))
    assert not torch.equal(
        ours.bc_loss(ours.actor, obs, chunk, {}), ours.bc_loss(ours.actor, obs, changed, {})
    )
    means, stds, logits = ours.encode(obs).values()
    short = MixtureChunk(means[:, :, :2], stds[:, :, :2], logits)
    expected = short.log_density(chunk[:, :2], 2).clamp(-5, 2)
    assert_close(scores(ours, obs, chunk), expected)


def test_modes_are_drawn_as_often_as_they_weigh():
    batch = 20_000
    noise = torch.randn(2, batch, generator=torch.Generator().manual_seed(0))
    chunk = mixture([0.2, 0.5, 0.3], batch).draw(noise, clip=3.0, deterministic=False)
    counts = torch.bincount(chunk.flatten().round().long().clamp(0, 2), minlength=3) / batch
    torch.testing.assert_close(counts, torch.tensor([0.2, 0.5, 0.3]), rtol=0, atol=0.015)


def test_the_last_mode_is_picked_where_rounded_weights_sum_to_less_than_the_quantile():
    logits = torch.randn(1000, 7, generator=torch.Generator().manual_seed(0))
    assert (logits.softmax(-1).cumsum(-1)[:, -1] < 1).any()
    means = torch.arange(7.0).view(1, 7, 1, 1).expand(1000, -1, -1, -1)
    noise = torch.stack([torch.full((1000,), 40.0), torch.zeros(1000)])
    chunk = MixtureChunk(means, torch.full_like(means, 0.1), logits).draw(
        noise, clip=3.0, deterministic=False
    )
    assert chunk.min() >= 5  # weights of other modes do not vanish in rounding
    assert chunk.max() == 6


def test_a_mode_without_weight_is_not_drawn():
    noise = torch.stack([torch.linspace(-5, 5, 1001), torch.zeros(1001)])
    chunk = mixture([0.5, 0.0, 0.5], 1001).draw(noise, clip=3.0, deterministic=False)
    assert set(chunk.flatten().tolist()) == {0.0, 2.0}


def test_acting_deterministically_leaves_the_choice_of_the_mode_and_next_to_no_noise():
    noise = torch.tensor([[-2.0, 2.0], [1.0, -1.0]])
    chunk = mixture([0.5, 0.5], 2).draw(noise, clip=3.0, deterministic=True)
    assert_close(chunk.flatten(), torch.tensor([1e-4, 1 - 1e-4]))


def test_noise_scatters_the_numbers_of_a_chunk_in_order():
    ours, obs = policy(GMMMLPConfig(mlp_dims=(32, 32, 32), num_modes=1)), states(2)
    means, stds, _ = ours.encode(obs).values()
    noise = torch.randn(13, 2)
    expected = means[:, 0] + stds[:, 0] * noise[1:].T.reshape(2, 4, 3)
    assert_close(ours.sample(obs, noise=noise).chunk, expected)


def test_noise_is_bounded_only_where_asked_for():
    noise = torch.tensor([[0.0], [10.0]])
    far = mixture([1.0]).draw(noise, clip=float("inf"), deterministic=False)
    near = mixture([1.0]).draw(noise, clip=3.0, deterministic=False)
    assert_close(torch.stack([far, near]).flatten(), torch.tensor([1.0, 0.3]))
    assert GMMPolicyConfig(5, 3).randn_clip_value is None


def test_a_mixture_of_one_mode_is_a_gaussian():
    ours, obs = policy(GMMMLPConfig(mlp_dims=(32, 32, 32), num_modes=1)), states()
    means, stds, _ = ours.encode(obs).values()
    normal = torch.distributions.Normal(means[:, 0], stds[:, 0])
    chunk = ours.sample(obs).chunk
    assert_close(scores(ours, obs, chunk), normal.log_prob(chunk).mean(dim=(1, 2)))
    assert_close(ours.entropy(ours.encode(obs)), normal.entropy().mean(dim=(1, 2)))


def test_chain_is_reproducible_from_injected_noise():
    ours, obs = policy(), states()
    noise = ours.draw_noise(6, torch.Generator().manual_seed(3))
    assert noise.shape == (13, 6)
    assert torch.equal(noise, ours.draw_noise(6, torch.Generator().manual_seed(3)))
    chain = ours.sample(obs, noise=noise)
    assert chain.x.shape == (6, 2, 4, 3)
    assert not chain.x[:, 0].any()
    assert torch.equal(chain.x, ours.sample(obs, noise=noise).x)
    rows = {"state": obs["state"][2:4]}
    assert_close(ours.sample(rows, noise=noise[:, 2:4]).x, chain.x[2:4])


@pytest.mark.parametrize("deterministic", [False, True])
def test_log_probs_of_sampling_are_those_of_scoring(deterministic):
    ours, obs = policy(), states()
    chain = ours.sample(obs, deterministic=deterministic)
    assert_close(chain.log_probs[:, 0], scores(ours, obs, chain.chunk))


def test_base_chains_are_those_of_the_frozen_base():
    ours, obs = policy(), states()
    with torch.no_grad():
        for parameter in ours.actor_ft.parameters():
            parameter.add_(0.1)
    noise = ours.draw_noise(6)
    base = ours.base_chains(obs, torch.arange(6), noise)
    assert not torch.equal(base, ours.sample(obs, noise=noise).x)
    ours.actor_ft.load_state_dict(ours.actor.state_dict())
    assert torch.equal(base, ours.sample(obs, noise=noise).x)
    assert not any(p.requires_grad for p in ours.actor.parameters())


def test_a_mixture_is_a_chunk_policy():
    assert isinstance(policy(), ChunkPolicy)
    assert isinstance(policy().config, PolicyConfig)
    assert policy().chain_steps == 1
    assert policy().draw_bc(6, torch.Generator()) == {}


def test_log_prob_of_low_precision_networks_is_float32():
    ours, obs = policy(), states()
    chunk = ours.sample(obs).chunk
    exact = scores(ours, obs, chunk)
    with torch.autocast("cpu", torch.bfloat16):
        rough = scores(ours, obs, chunk)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, rtol=0.05, atol=0.05)


def test_a_transformer_acts_and_learns_through_the_same_interface():
    size: dict[str, Any] = {"embed_dim": 8, "num_heads": 2, "num_layers": 1, "num_modes": 2}
    ours, obs = policy(GMMTransformerConfig(**size)), states()
    chain = ours.sample(obs)
    log_prob = scores(ours, obs, chain.chunk)
    assert_close(chain.log_probs[:, 0], log_prob)
    log_prob.sum().backward()
    assert ours.actor_ft.modes_head.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "network",
    [GMMMLPConfig(num_modes=2), GMMTransformerConfig(embed_dim=8, num_heads=2, num_modes=2)],
)
def test_configuration_survives_json(network):
    config = GMMPolicyConfig(5, 3, fine_tuned=True, randn_clip_value=2.0, network=network)
    assert GMMPolicyConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_modes": 5}, "GMMPolicyConfig.num_modes: unknown field"),
        ({"network": {"tanh_output": False}}, "GMMMLPConfig.tanh_output: unknown field"),
        ({"network": {"type": "unet"}}, "network.type='unet': expected one of"),
    ],
)
def test_unknown_fields_are_refused(change, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        GMMPolicyConfig.from_dict(GMMPolicyConfig(5, 3).to_dict() | change)
