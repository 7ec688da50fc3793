"""The first minibatch of an update: the policy that learns is still the one that acted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_policies import KINDS, VISION, build, module_of, rollout, tiny_config, update
from torch import Tensor

from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner
from dppo_rllib.modules.chunk_module import LOG_PROBS

# A row that is summed in another order: float32, and bfloat16 whose products are summed in float32.
# Half of the smallest clip range in use is 5e-3.
FLOAT32, BFLOAT16, BFLOAT16_MEAN = 1e-5, 5e-3, 1e-4


class RecordingLearner(ChunkPPOLearner):
    """Remembers the importance ratios of its minibatches."""

    def compute_loss_for_module(self, *, batch: Any, fwd_out: Any, **kwargs: Any) -> Tensor:
        self.ratios = getattr(self, "ratios", [])
        self.ratios.append((fwd_out[LOG_PROBS] - batch[LOG_PROBS]).exp().detach())
        return super().compute_loss_for_module(batch=batch, fwd_out=fwd_out, **kwargs)


def recorded_update(kind: str, shift: float = 0.0, **training: Any) -> list[Tensor]:
    """Ratios of each minibatch; log-probabilities of sampling are shifted before."""
    training = {"microbatch_size": 10_000, "actor_lr": 1e-2, "actor_min_lr": 1e-2} | training
    learner, runner = build(tiny_config(kind, **training), RecordingLearner)
    trajectories = rollout(learner, runner)
    trajectories.log_probs[:] += shift
    update(learner, trajectories)
    return learner.ratios


def deviation(ratios: Tensor) -> float:
    return float((ratios - 1).abs().max())


@pytest.mark.parametrize("kind", KINDS)
def test_ratios_start_at_one_and_move(kind: str) -> None:
    first, *_, last = recorded_update(kind, num_epochs=2)
    assert len(first) == 10
    assert deviation(first) <= FLOAT32
    assert deviation(last) > 100 * FLOAT32


@pytest.mark.parametrize("kind", ["ddpm", "gaussian"])
def test_log_probs_of_sampling_are_what_is_compared_with(kind: str) -> None:
    first = recorded_update(kind, shift=0.1)[0]
    torch.testing.assert_close(first.log(), torch.full_like(first, -0.1))


@pytest.mark.parametrize("kind", ["ddpm", "unet", "pictures", "gaussian_transformer", "gmm"])
def test_in_bfloat16_the_learner_scores_chains_itself(kind: str) -> None:
    """Another device, or kernels for the few rows of a runner, may round by a clip range."""
    first, *_, last = recorded_update(kind, shift=0.1, mixed_precision=True, num_epochs=2)
    assert deviation(first) <= BFLOAT16
    assert (first - 1).abs().mean() <= BFLOAT16_MEAN
    assert deviation(last) > BFLOAT16


def test_bfloat16_is_scored_as_in_the_update_at_the_authors_width() -> None:
    """Chains are sampled 20 rows at a time and learned from 2500 transitions at a time."""
    config = tiny_config(
        "ddpm",
        mixed_precision=True,
        network={"mlp_dims": (256, 256, 256), "time_dim": 16},
        critic={"mlp_dims": (8, 8, 8)},
        ft_denoising_steps=4,
        act_steps=4,
        minibatch_size=2500,
    )
    config.env_runners(num_envs_per_env_runner=20, rollout_fragment_length=32)
    learner, runner = build(config, RecordingLearner)
    trajectories = rollout(learner, runner)
    update(learner, trajectories)
    ratios = torch.cat(learner.ratios)
    assert len(ratios) >= 2500
    assert deviation(ratios) <= BFLOAT16
    assert (ratios - 1).abs().mean() <= BFLOAT16_MEAN


def test_likelihoods_by_the_ode_are_not_computed_in_bfloat16() -> None:
    with pytest.raises(ValueError, match="mixed_precision=True: likelihoods need float32"):
        tiny_config("exact", mixed_precision=True).validate()


@pytest.mark.parametrize("kind", ["pictures", "gaussian_pictures"])
def test_ratios_do_not_compare_networks_with_other_units_dropped(kind: str) -> None:
    ratios = recorded_update(kind, vision=VISION | {"dropout": 0.5})
    assert deviation(ratios[0]) <= FLOAT32


def test_weights_chains_and_log_probs_stay_float32_in_mixed_precision() -> None:
    learner, runner = build(tiny_config("ddpm", mixed_precision=True))
    trajectories = rollout(learner, runner)
    assert trajectories.chains.dtype == trajectories.log_probs.dtype == torch.float32
    data = learner._prepare(trajectories)
    for tensor in (data.log_probs, data.values, data.advantages, data.chains):
        assert tensor.dtype == torch.float32
    learner._accumulate(data, torch.arange(10), torch.Generator())
    parameters = list(module_of(learner).policy.actor_ft.parameters())
    assert {p.dtype for p in parameters} == {p.grad.dtype for p in parameters} == {torch.float32}
