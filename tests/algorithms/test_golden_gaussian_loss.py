"""The objective of the Gaussian baselines against the authors' code, through the learner."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from golden_tensors import assert_close, flat_gradient, golden, golden_layout, weights
from ray.rllib.core import DEFAULT_MODULE_ID

from dppo_rllib import GaussianPPOConfig, GMMPPOConfig
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.checkpoints.official_file import native_keys

ROWS, HORIZON, ACTION_DIM, OBS_DIM = 24, 4, 3, 5
STATE_DEPENDENT: dict[str, Any] = {"fixed_std": None, "learn_fixed_std": False, "std_max": 1.0}
GAUSSIAN: dict[str, dict[str, Any]] = {
    "gauss_fixedstd": {"activation": "ReLU"},
    "gauss_const": {"learn_fixed_std": False, "std_max": 1.0},
    "gauss_learned": STATE_DEPENDENT | {"residual": False},
    "gauss_learned_notanh": STATE_DEPENDENT
    | {"residual": False, "tanh_output": False, "use_layernorm": True},
}
MIXTURES: dict[str, dict[str, Any]] = {
    "gmm_fixedstd": {"num_modes": 3},
    "gmm_learned": STATE_DEPENDENT | {"num_modes": 2},
}
VALUE_CLIP = {"gauss_fixedstd": 0.2}


def make_learner(name: str, network: dict[str, Any], **training: Any) -> Any:
    """A learner with the authors' weights; they keep no base of a mixture."""
    is_mixture = name in MIXTURES
    config = (GMMPPOConfig if is_mixture else GaussianPPOConfig)()
    config.environment("Hopper-v5").learners(num_learners=0).debugging(seed=0).training(
        network={"mlp_dims": (32, 32, 32), **network},
        critic={"mlp_dims": (16, 16, 16)},
        horizon_steps=HORIZON,
        act_steps=HORIZON,
        clip_param=0.1,
        vf_clip_param=VALUE_CLIP.get(name),
        **training,
    ).validate()
    box = gymnasium.spaces.Box
    obs = gymnasium.spaces.Dict(state=box(-np.inf, np.inf, (1, OBS_DIM)))
    spaces = (obs, box(-1, 1, (HORIZON, ACTION_DIM)))
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: spaces})
    module = learner.module[DEFAULT_MODULE_ID]
    parts = {"critic": module.critic, "actor_ft": module.policy.actor_ft}
    for part, own in (parts if is_mixture else parts | {"actor": module.policy.actor}).items():
        own.load_state_dict(native_keys(weights(name, f"{part}.", "model")), strict=True)
    return learner


def golden_data(log_probs: torch.Tensor) -> IterationData:
    """The golden rows, each a chain of one step."""
    chunk = golden("gauss/actions")
    return IterationData(
        obs={"state": golden("gauss/obs")},
        chains=torch.stack([torch.zeros_like(chunk), chunk], dim=1),
        log_probs=log_probs[:, None],
        values=golden("gauss/oldvalues"),
        returns=golden("gauss/returns"),
        advantages=golden("gauss/advantages"),
        own_row=None,
    )


def accumulate(learner: Any, log_probs: torch.Tensor) -> torch.Tensor:
    """Statistics of all rows in one minibatch; gradients stay in the parameters."""
    statistics = learner._accumulate(golden_data(log_probs), torch.arange(ROWS), torch.Generator())
    return statistics.means(ROWS)


def gradient_in_layout(network: torch.nn.Module, name: str) -> torch.Tensor:
    """In the authors' order; theirs of the bounds, which we do not learn, are zeros."""
    own = {key: p.grad for key, p in network.named_parameters()}
    parts = []
    for key, shape, _ in golden_layout(f"{name}/actor_ft"):
        gradient = own.pop(key, None)
        parts.append((torch.zeros(shape) if gradient is None else gradient).flatten())
    assert not own
    return torch.cat(parts)


@pytest.mark.parametrize(("microbatch_size", "learner_threads"), [(None, 1), (5, 3)])
@pytest.mark.parametrize("name", GAUSSIAN)
def test_loss_and_gradients_are_those_of_the_authors(
    name: str, microbatch_size: int | None, learner_threads: int
) -> None:
    sizes = {"microbatch_size": microbatch_size, "learner_threads": learner_threads}
    learner = make_learner(name, GAUSSIAN[name], **sizes)
    found = accumulate(learner, golden(f"gauss/{name}/oldlogprobs").clamp(-5, 2))
    pg_loss, _, v_loss, clip_fraction, kl, ratio = golden(f"gauss/{name}/loss_out")[:6].float()
    expected = [pg_loss, kl, ratio, v_loss, torch.zeros(()), torch.zeros(()), clip_fraction]
    assert_close(found, torch.stack(expected))
    actor_ft = learner.module[DEFAULT_MODULE_ID].policy.actor_ft
    assert_close(gradient_in_layout(actor_ft, name), golden(f"gauss/{name}/grad_actor_ft"))


@pytest.mark.parametrize("name", [name for name in GAUSSIAN if name != "gauss_const"])
def test_the_entropy_bonus_is_that_of_the_authors(name: str) -> None:
    """Theirs is a loss of its own, which the gradient of the policy loss leaves out."""
    learner = make_learner(name, GAUSSIAN[name], entropy_coeff=0.5)
    found = accumulate(learner, golden(f"gauss/{name}/oldlogprobs").clamp(-5, 2))
    assert_close(found[5], -golden(f"gauss/{name}/loss_out")[1].float())
    policy = learner.module[DEFAULT_MODULE_ID].policy
    both = gradient_in_layout(policy.actor_ft, name)
    policy.zero_grad()
    policy.entropy(policy.encode({"state": golden("gauss/obs")})).mean().backward()
    bonus = gradient_in_layout(policy.actor_ft, name)
    assert bonus.any()
    assert_close(both + 0.5 * bonus, golden(f"gauss/{name}/grad_actor_ft"))


def test_a_bonus_on_a_constant_entropy_is_refused() -> None:
    with pytest.raises(ValueError, match="entropy_coeff=0.5: the entropy is constant"):
        make_learner("gauss_const", GAUSSIAN["gauss_const"], entropy_coeff=0.5)


@pytest.mark.parametrize("name", MIXTURES)
def test_of_a_mixture_all_is_the_authors_but_the_scale_of_log_probs(name: str) -> None:
    """Ours are the authors' joint ones per number, within the bounds that theirs are beyond."""
    count = HORIZON * ACTION_DIM
    joint = golden(f"gauss/{name}/logprobs") / count
    # `loss_out` has the entropy with the opposite sign, of all numbers together.
    _, entropy_loss, v_loss = golden(f"gauss/{name}/loss_out")[:3].float()
    learner = make_learner(name, MIXTURES[name], entropy_coeff=0.5)
    policy_loss, kl, ratio, value, _, entropy, _ = accumulate(learner, joint.clamp(-5, 2))
    assert_close(value, v_loss)
    assert_close(entropy, -entropy_loss / count)
    assert_close(ratio, torch.ones(()))
    assert_close(kl, torch.zeros(()))
    # At a ratio of 1 it is the mean of standardised advantages.
    assert_close(policy_loss, torch.zeros(()))
    within = (joint > -5) & (joint < 2)
    gradient = flat_gradient(learner.module[DEFAULT_MODULE_ID].policy.actor_ft)
    assert gradient.any() or not within.any()
