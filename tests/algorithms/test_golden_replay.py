"""Four iterations of the authors' agent, replayed: parameters after each must agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData

from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner
from dppo_rllib.rollouts.trajectories import Trajectories

SETTINGS = {
    "denoising_steps": 6,
    "ft_denoising_steps": 3,
    "act_steps": 2,
    "gamma": 0.99,
    "lambda_": 0.95,
    "gamma_denoising": 0.9,
    "clip_param": 0.05,
    "clip_param_base": 0.01,
    "clip_param_rate": 3,
    "vf_loss_coeff": 0.5,
    "num_epochs": 2,
    "minibatch_size": 24,
    "grad_clip": 1.0,
    "target_kl": 1,
    "n_critic_warmup_itr": 2,
    "actor_lr": 1e-3,
    "critic_lr": 2e-3,
    "actor_min_lr": 1e-4,
    "critic_min_lr": 1e-4,
    "actor_lr_warmup_steps": 2,
    "critic_lr_warmup_steps": 2,
    "actor_lr_cycle_steps": 10,
    "critic_lr_cycle_steps": 10,
}


class ReplayLearner(ChunkPPOLearner):
    """Takes its permutations from a recording and remembers what it prepared."""

    permutations: list[torch.Tensor]
    prepared: Any = None

    def _permutation(self, num_pairs: int, generator: torch.Generator) -> torch.Tensor:
        return self.permutations.pop(0)

    def _prepare(self, trajectories: Trajectories) -> Any:
        self.prepared = super()._prepare(trajectories)
        return self.prepared


def sample_chunks(learner: ChunkPPOLearner, golden: Any, iteration: int) -> tuple[Any, Any, Any]:
    """Denoises every chunk of an iteration from the recorded noise."""
    policy = learner.module[DEFAULT_MODULE_ID].policy
    chains, log_probs = [], []
    for step in range(8):
        obs = torch.from_numpy(golden["e2e/obs"][iteration, step]).float()
        noise = torch.from_numpy(golden["e2e/noise"][iteration, step])
        chain = policy.sample({"state": obs}, noise=noise, deterministic=iteration == 0)
        chains.append(chain.x.numpy())
        log_probs.append(chain.log_probs.numpy())
    return np.stack(chains), np.stack(log_probs), golden["e2e/obs"][iteration].astype(np.float32)


def recorded_trajectories(learner: ChunkPPOLearner, golden: Any, iteration: int) -> Trajectories:
    """The recorded iteration, with the authors' treatment of truncation.

    They bootstrap from the observation after the reset and let advantages run on: that is what
    our learner does where no truncation is flagged.
    """
    chains, log_probs, obs = sample_chunks(learner, golden, iteration)
    return Trajectories(
        obs={"state": obs[:-1]},
        chains=chains,
        log_probs=log_probs,
        reward=golden["e2e/reward"][iteration],
        terminated=golden["e2e/terminated"][iteration],
        truncated=np.zeros((8, 3), bool),
        is_first=golden["e2e/first"][iteration - 1].astype(bool),
        env_steps=np.full((8, 3), 2),
        next_obs={"state": obs[-1]},
        final_obs={"state": obs[-1][:0]},
        final_index=np.zeros((0, 2), np.int64),
        env_ids=np.arange(3),
    )


def assert_parameters(learner: ChunkPPOLearner, golden: Any, iteration: int) -> None:
    module = learner.module[DEFAULT_MODULE_ID]
    for name, network in (("actor_ft", module.policy.actor_ft), ("critic", module.critic)):
        parameters = torch.cat([p.detach().flatten() for p in network.parameters()])
        expected = golden[f"e2e/params_{name}_{iteration}"]
        np.testing.assert_allclose(parameters.numpy(), expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("microbatch_size", [None, 7])
def test_four_iterations_are_followed_to_the_parameters(
    microbatch_size: int | None, golden: Any, make_learner: Any
) -> None:
    learner = make_learner("e2e_start", ReplayLearner, **SETTINGS, microbatch_size=microbatch_size)
    # Iteration 0 is the authors' evaluation: greedy, no update, but the schedules step.
    actions = sample_chunks(learner, golden, 0)[0][:, :, -1, :2]
    np.testing.assert_allclose(actions, golden["e2e/actions"][0], rtol=1e-4, atol=1e-5)
    assert_parameters(learner, golden, 0)
    learner.iteration = 1
    for iteration in (1, 2, 3):
        learner.permutations = list(torch.from_numpy(golden["e2e/perms"][iteration - 1]))
        trajectories = recorded_trajectories(learner, golden, iteration)
        np.testing.assert_allclose(
            trajectories.chains, golden["e2e/chains"][iteration], rtol=1e-4, atol=1e-5
        )
        learner.update(training_data=TrainingData(batch=trajectories))

        data = learner.prepared
        for ours, theirs in (("values", "values"), ("advantages", "advantages")):
            np.testing.assert_allclose(
                getattr(data, ours).view(8, 3).numpy(),
                golden[f"e2e/{theirs}"][iteration - 1],
                rtol=1e-4,
                atol=1e-5,
            )
        np.testing.assert_allclose(
            data.returns.view(8, 3).numpy(), golden["e2e/returns"][iteration - 1], rtol=1e-4
        )
        official = golden["e2e/logprobs"][iteration - 1][..., :2, :].clip(-5, 2).mean((-2, -1))
        np.testing.assert_allclose(
            data.log_probs.view(8, 3, 3).numpy(), official, rtol=1e-4, atol=1e-5
        )
        assert_parameters(learner, golden, iteration)


def test_learning_rates_are_those_of_the_replay(golden: Any, make_learner: Any) -> None:
    learner = make_learner("e2e_start", **SETTINGS)
    for iteration in (1, 2, 3):
        learner.iteration = iteration
        learner._set_learning_rates()
        rates = [
            learner.get_optimizer(DEFAULT_MODULE_ID, name).param_groups[0]["lr"]
            for name in ("actor", "critic")
        ]
        np.testing.assert_allclose(rates, golden["e2e/lr"][iteration - 1])
