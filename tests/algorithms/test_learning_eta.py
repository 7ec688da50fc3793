"""The noise level of DDIM as a part of the policy that fine-tuning learns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from tiny_policies import build, module_of, rollout, tiny_config, update
from torch import Tensor

from dppo_rllib import DPPOConfig
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner
from dppo_rllib.algorithms.schedules import CosineWarmup
from dppo_rllib.rollouts.trajectories import Trajectories

LEVELS: dict[str, dict[str, Any]] = {
    "action": {"kind": "action"},
    "state": {"kind": "state", "mlp_dims": (4,)},
}
RATES = {"eta_lr": 1e-2, "eta_min_lr": 1e-2, "eta_lr_warmup_steps": 0}


class IndifferentLearner(ChunkPPOLearner):
    """Finds every chunk as good as any other."""

    def _prepare(self, trajectories: Trajectories) -> IterationData:
        data = super()._prepare(trajectories)
        data.advantages.zero_()
        return data


def make(level: str = "action", learner_class: Any = ChunkPPOLearner, **training: Any) -> Any:
    settings = {"learned_eta": LEVELS[level]} | RATES | training
    return build(tiny_config("learned_eta", **settings), learner_class)


def levels(module: Any) -> Tensor:
    """Noise levels `[B, 1, #Da]` in a few states."""
    return module.policy.eta({"state": torch.linspace(-1, 1, 5).view(5, 1, 1)}).detach()


@pytest.mark.parametrize("level", LEVELS)
def test_only_the_policy_loss_moves_the_noise_level(level: str) -> None:
    learner, runner = make(level, normalize_advantages=False)
    data = learner._prepare(rollout(learner, runner))
    eta, critic = module_of(learner).policy.eta, module_of(learner).critic
    learner._accumulate(data, torch.arange(10), torch.Generator())
    assert any(p.grad.any() for p in eta.parameters())
    data.advantages.zero_()
    learner._accumulate(data, torch.arange(10), torch.Generator())
    assert not any(p.grad.any() for p in eta.parameters())
    assert all(p.grad.any() for p in critic.parameters())


def test_the_noise_level_waits_while_only_the_critic_learns() -> None:
    learner, runner = make(n_critic_warmup_itr=1)
    before = levels(module_of(learner))
    update(learner, rollout(learner, runner))
    assert torch.equal(levels(module_of(learner)), before)
    update(learner, rollout(learner, runner, iteration=1))
    assert not torch.equal(levels(module_of(learner)), before)


def test_it_has_an_optimizer_with_a_schedule_of_its_own() -> None:
    rates = {"eta_lr": 1e-2, "eta_min_lr": 1e-3, "eta_lr_warmup_steps": 2, "eta_lr_cycle_steps": 10}
    learner, _ = make(n_critic_warmup_itr=3, eta_weight_decay=0.5, **rates)
    optimizer = learner.get_optimizer(DEFAULT_MODULE_ID, "eta")
    [group] = optimizer.param_groups
    assert group["params"] == list(module_of(learner).policy.eta.parameters())
    assert group["weight_decay"] == 0.5
    expected = CosineWarmup(max_lr=1e-2, min_lr=1e-3, warmup_steps=2, cycle_steps=10)
    for iteration in range(9):
        learner.iteration = iteration
        learner._set_learning_rates()
        assert group["lr"] == pytest.approx(expected(max(0, iteration - 3)))
    assert learner.get_optimizer(DEFAULT_MODULE_ID, "actor").param_groups[0]["lr"] == 1e-3


def test_the_first_step_is_as_long_as_its_learning_rate() -> None:
    learner, runner = make(minibatch_size=24)
    logit = module_of(learner).policy.eta.eta_logit
    before = logit.detach().clone()
    assert update(learner, rollout(learner, runner))["eta_lr"] == pytest.approx(1e-2)
    torch.testing.assert_close(
        (logit - before).abs(), torch.full_like(logit, 1e-2), rtol=1e-3, atol=0
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("coefficient", [0.0, 1.0])
def test_the_entropy_bonus_raises_the_noise_level(level: str, coefficient: float) -> None:
    learner, runner = make(
        level, IndifferentLearner, entropy_coeff=coefficient, normalize_advantages=False
    )
    before = levels(module_of(learner))
    figures = update(learner, rollout(learner, runner))
    after = levels(module_of(learner))
    if coefficient:
        assert torch.all(after > before)
        assert before.mean() <= figures["entropy"] <= after.mean()
        loss = figures["policy_loss"] + 0.5 * figures["vf_loss"] - figures["entropy"]
        assert figures["total_loss"] == pytest.approx(loss, abs=1e-6)
    else:
        assert torch.equal(after, before) and "entropy" not in figures


@pytest.mark.parametrize("level", LEVELS)
def test_runners_act_with_the_noise_level_that_was_learned(level: str) -> None:
    learner, runner = make(level, num_epochs=3)
    before = runner.module.policy.sample
    update(learner, rollout(learner, runner))
    own, theirs = module_of(learner), runner.module
    assert not torch.equal(levels(own), levels(theirs))
    runner.set_state(learner.acting_state(["actor_ft", "eta"]))
    assert torch.equal(levels(own), levels(theirs))
    obs, noise = {"state": torch.zeros(4, 1, 1)}, own.policy.draw_noise(4)
    assert torch.equal(own.policy.sample(obs, noise=noise).x, before(obs, noise=noise).x)


def test_noise_level_and_optimizer_are_restored() -> None:
    learner, runner = make("state")
    trajectories = rollout(learner, runner)
    update(learner, trajectories)
    again, _ = make("state")
    again.set_state(learner.get_state())
    for one in (learner, again):
        one.update(TrainingData(batch=trajectories))
    states = [one.get_state()["optimizer"] for one in (learner, again)]
    [name] = [name for name in states[0] if name.endswith("eta")]
    for index, expected in states[0][name]["state"]["state"].items():
        for key, value in expected.items():
            np.testing.assert_array_equal(value, states[1][name]["state"]["state"][index][key])
            assert np.any(value)
    assert torch.equal(levels(module_of(learner)), levels(module_of(again)))


@pytest.mark.parametrize(
    ("eta", "level"), [({"kind": "fixed", "base_eta": 1.0}, 1.0), ({"kind": "state"}, 0.5)]
)
def test_a_noise_level_that_is_not_learned_stays(eta: dict[str, Any], level: float) -> None:
    config = tiny_config("learned_eta", learned_eta=eta | {"learnable": False})
    learner, runner = build(config)
    figures = update(learner, rollout(learner, runner))
    assert np.isfinite(figures["total_loss"]) and "eta_lr" not in figures
    assert torch.all(levels(module_of(learner)) == level)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ddim_steps": None}, "learned_eta=.*: only DDIM has a noise level; set ddim_steps"),
        ({"eta": 0.5}, "eta=0.5: with learned_eta its base_eta is where it starts; expected eta=1"),
        (
            {"learned_eta": None, "entropy_coeff": 0.1},
            "entropy_coeff=0.1: rewards a learned noise level; set learned_eta",
        ),
        (
            {"learned_eta": {"learnable": False}, "entropy_coeff": 0.1},
            "entropy_coeff=0.1: rewards a learned noise level",
        ),
        ({"learned_eta": {"base_eta": 1.0}}, "base_eta=1.0: kind='action' cannot learn"),
        ({"learned_eta": {"start": 1.0}}, "EtaConfig.start: unknown field"),
        ({"eta_min_lr": 1.0}, "eta_min_lr=1.0: expected at most eta_lr"),
        ({"eta_lr": -1.0, "eta_min_lr": -1.0}, "eta_lr=-1.0: expected a number from 0"),
        ({"eta_lr_warmup_steps": 1000}, "eta_lr_warmup_steps=1000: expected less than"),
    ],
)
def test_contradictions_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config("learned_eta", **settings).validate()


def test_the_likelihood_of_a_chunk_knows_no_noise_level() -> None:
    config = tiny_config("exact", denoising_steps=8, ddim_steps=4, learned_eta={})
    with pytest.raises(ValueError, match="learned_eta=.*: the likelihood .* expected None"):
        config.validate()


def test_a_noise_level_survives_the_way_through_a_dictionary() -> None:
    config = tiny_config("learned_eta", learned_eta=LEVELS["state"])
    again = DPPOConfig().update_from_dict(config.to_dict())
    assert again.policy_config(1, 1).learned_eta == config.policy_config(1, 1).learned_eta
