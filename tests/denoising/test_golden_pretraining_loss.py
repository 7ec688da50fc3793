"""The pre-training loss, its gradient and the forward process against the authors' code."""

from __future__ import annotations

import pytest
import torch
from golden_tensors import (
    assert_close,
    diffusion_mlp,
    flat_gradient,
    golden,
    golden_keys,
    golden_layout,
    weights,
)

from dppo_rllib.denoising import DenoisingConfig, DenoisingProcess


def pretrained():
    return diffusion_mlp(weights("pretrain_ddpm8", "network.", "model"))


def process(predict_epsilon: bool = True) -> DenoisingProcess:
    return DenoisingProcess(DenoisingConfig(denoising_steps=8, predict_epsilon=predict_epsilon))


def test_every_golden_loss_is_compared():
    cases = {f"bc/{case}/{key}" for case in ("eps", "x0") for key in ("t", "noise", "loss", "grad")}
    assert set(golden_keys("bc/")) == cases | {"bc/actions", "bc/obs", "bc/q_sample"}


@pytest.mark.parametrize("target", ["eps", "x0"])
def test_loss_and_gradient_are_the_authors(target):
    network = pretrained()
    loss = (
        process(predict_epsilon=target == "eps")
        .bc_loss(
            network,
            {"state": golden("bc/obs")},
            golden("bc/actions"),
            golden(f"bc/{target}/t"),
            golden(f"bc/{target}/noise"),
        )
        .mean()
    )
    loss.backward()
    assert_close(loss.detach(), golden(f"bc/{target}/loss"))
    assert_close(flat_gradient(network), golden(f"bc/{target}/grad"))


def test_parameters_are_in_the_authors_order():
    offset = 0
    for (name, parameter), (official, shape, start) in zip(
        pretrained().named_parameters(), golden_layout("pretrain_ddpm8"), strict=True
    ):
        assert (name, list(parameter.shape), offset) == (official, shape, start)
        offset += parameter.numel()


def test_noised_chunk_is_the_authors():
    noised = process().add_noise(golden("bc/actions"), torch.arange(16) % 8, golden("bc/eps/noise"))
    assert_close(noised, golden("bc/q_sample"))


def test_loss_of_a_perfect_prediction_is_zero():
    """A network that knows the clean chunk recovers the noise from the noised one."""
    diffusion = process()
    chunk, noise = golden("bc/actions"), golden("bc/eps/noise")

    class Oracle:
        def embed_time(self, timesteps):
            return timesteps[:, None].float()

        def encode(self, obs):
            return obs["state"].flatten(1)

        def __call__(self, x, time_embedding, features):
            alpha = diffusion.alphas_cumprod[time_embedding[:, 0].long()][:, None, None]
            return (x - alpha.sqrt() * chunk) / (1 - alpha).sqrt()

    loss = diffusion.bc_loss(
        Oracle(), {"state": golden("bc/obs")}, chunk, golden("bc/eps/t"), noise
    )
    assert loss.max().item() == pytest.approx(0, abs=1e-9)
