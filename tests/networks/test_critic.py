"""The state-value network."""

from __future__ import annotations

import pytest
import torch

from dppo_rllib.networks import Critic, CriticConfig, ObservationSpec


def test_defaults_are_the_authors():
    config = CriticConfig()
    assert config == CriticConfig((256, 256, 256), "Mish", residual=True, use_layernorm=False)
    count = sum(p.numel() for p in Critic(config, ObservationSpec(11)).parameters())
    assert count == 11 * 256 + 256 + 2 * (256 * 256 + 256) + 256 + 1


@pytest.mark.parametrize("residual", [True, False])
def test_one_value_per_observation_history(residual):
    critic = Critic(CriticConfig((8, 8, 8), residual=residual), ObservationSpec(6))
    state = torch.randn(5, 2, 3)
    values = critic({"state": state})
    assert values.shape == (5,)
    alone = torch.cat([critic({"state": state[i : i + 1]}) for i in range(5)])
    torch.testing.assert_close(values, alone)


def test_value_looks_at_the_whole_history():
    critic = Critic(CriticConfig((8, 8, 8)), ObservationSpec(6))
    state = torch.randn(1, 2, 3, requires_grad=True)
    critic({"state": state}).sum().backward()
    assert (state.grad != 0).all()


def test_residual_critic_refuses_an_even_number_of_layers():
    with pytest.raises(ValueError, match=r"mlp_dims=\[8, 8\]: .*odd number"):
        Critic(CriticConfig((8, 8)), ObservationSpec(3))


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation='Swish'"):
        Critic(CriticConfig((8, 8, 8), activation="Swish"), ObservationSpec(3))
