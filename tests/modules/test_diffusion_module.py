"""The policy as RLlib sees it: components of its state, and acting."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from dppo_rllib.modules import DiffusionRLModule
from dppo_rllib.modules.chunk_module import CHAINS, FT_INDEX, LOG_PROBS, NOISE


@pytest.fixture
def module() -> DiffusionRLModule:
    return build(inference_only=False)


def build(inference_only: bool) -> DiffusionRLModule:
    box = gymnasium.spaces.Box
    return DiffusionRLModule(
        observation_space=gymnasium.spaces.Dict(state=box(-1, 1, (2, 5), np.float32)),
        action_space=box(-1, 1, (3, 2), np.float32),
        inference_only=inference_only,
        model_config={
            "cond_steps": 2,
            "horizon_steps": 4,
            "act_steps": 3,
            "ft_denoising_steps": 3,
            "denoising": {"denoising_steps": 5},
            "network": {"mlp_dims": (16, 16, 16), "time_dim": 8},
            "critic": {"mlp_dims": (8, 8, 8)},
        },
    )


def prefixes(state: dict) -> set[str]:
    return {".".join(k.split(".")[:2]) for k in state if "." in k}


def test_only_the_fine_tuned_actor_is_shipped(module: DiffusionRLModule) -> None:
    assert prefixes(module.get_state(["actor_ft"])) == {"policy.actor_ft"}


def test_inference_leaves_the_critic_out(module: DiffusionRLModule) -> None:
    state = module.get_state(inference_only=True)
    assert prefixes(state) == {"policy.actor", "policy.actor_ft"}
    assert not hasattr(build(inference_only=True), "critic")


def test_the_base_actor_is_frozen_and_starts_equal(module: DiffusionRLModule) -> None:
    policy = module.policy
    for base, tuned in zip(policy.actor.parameters(), policy.actor_ft.parameters(), strict=True):
        assert torch.equal(base, tuned) and tuned.requires_grad and not base.requires_grad


def test_a_state_round_trip_keeps_the_schedule(module: DiffusionRLModule) -> None:
    module.policy.ft_denoising_steps, module.policy.min_sampling_denoising_std = 2, 0.05
    runner = build(inference_only=True)
    runner.set_state(module.get_state(inference_only=True))
    assert runner.policy.ft_denoising_steps == 2
    assert runner.policy.min_sampling_denoising_std == 0.05


def test_a_full_state_is_accepted_where_there_is_no_critic(module: DiffusionRLModule) -> None:
    build(inference_only=True).set_state(module.get_state())


def test_an_incomplete_component_is_refused_by_name(module: DiffusionRLModule) -> None:
    state = module.get_state(["actor_ft"])
    removed = next(k for k in state if k.startswith("policy.actor_ft."))
    del state[removed]
    with pytest.raises(ValueError, match=f"'actor_ft': missing .*{removed}"):
        module.set_state(state)


def test_an_unknown_key_is_refused_by_name(module: DiffusionRLModule) -> None:
    with pytest.raises(ValueError, match="target.weight"):
        module.set_state({"target.weight": np.zeros(2)})


def test_acting_is_reproducible_and_scored_like_training(module: DiffusionRLModule) -> None:
    with torch.no_grad():
        for parameter in module.policy.actor_ft.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    obs, noise = {"state": torch.randn(6, 2, 5)}, module.policy.draw_noise(6)
    first, again = (module.forward_exploration({Columns.OBS: obs, NOISE: noise}) for _ in range(2))
    assert torch.equal(first[CHAINS], again[CHAINS])
    assert first[CHAINS].shape == (6, 4, 4, 2)
    assert torch.equal(first[Columns.ACTIONS], first[CHAINS][:, -1])
    for k in range(3):
        batch = {
            Columns.OBS: obs,
            "chain_prev": first[CHAINS][:, k],
            "chain_next": first[CHAINS][:, k + 1],
            FT_INDEX: torch.full((6,), k),
        }
        trained = module.forward_train(batch)[LOG_PROBS]
        torch.testing.assert_close(trained, first[LOG_PROBS][:, k], rtol=1e-4, atol=1e-5)
