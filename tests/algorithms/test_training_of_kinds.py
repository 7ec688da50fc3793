"""Every kind of policy from the first iteration to the last: trained, saved, resumed, deployed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from tiny_policies import (
    DIFFUSION,
    KINDS,
    build,
    module_of,
    rollout,
    tiny_config,
    update,
)
from torch import Tensor
from two_modes import TwoModes

from dppo_rllib import DPPOConfig, ExactDPPOConfig, GaussianPPOConfig, GMMPPOConfig
from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy, save_policy
from dppo_rllib.environments import PixelReach
from dppo_rllib.modules import (
    DiffusionPolicyConfig,
    GaussianPolicyConfig,
    GMMPolicyConfig,
    build_policy,
)
from dppo_rllib.networks import DiffusionMLPConfig, VisionConfig
from dppo_rllib.networks.gaussian import GaussianMLPConfig
from dppo_rllib.networks.gmm import GMMMLPConfig


def learner_of(algo: Any) -> Any:
    return algo.learner_group._learner


def observations(config: Any, rows: int = 5) -> dict[str, Tensor]:
    """Different ones, as a policy of this configuration sees them."""
    obs = {"state": torch.linspace(-1, 1, rows * config.obs_dim).view(rows, 1, -1)}
    if config.image_shape is not None:
        pixels = torch.arange(rows * math.prod(config.image_shape)) % 251
        obs["rgb"] = pixels.to(torch.uint8).view(rows, 1, *config.image_shape)
    return obs


def numbers(state: Any, prefix: str = "") -> dict[str, np.ndarray]:
    """All numbers in nested dictionaries and lists."""
    if isinstance(state, (dict, list, tuple)):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        parts = [numbers(value, f"{prefix}.{key}") for key, value in items]
        return {key: value for part in parts for key, value in part.items()}
    is_number = isinstance(state, (int, float, np.ndarray, Tensor))
    return {prefix: np.asarray(state)} if is_number else {}


def assert_same(first: Any, second: Any) -> None:
    """Weights, optimizers, reward scaling: bit for bit."""
    states = [numbers(learner_of(algo).get_state()) for algo in (first, second)]
    assert states[0].keys() == states[1].keys()
    assert any("optimizer" in key for key in states[0])
    for key, value in states[0].items():
        np.testing.assert_array_equal(value, states[1][key], err_msg=key)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=1, include_dashboard=False, ignore_reinit_error=True)
    yield
    ray.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_resumed_bit_by_bit_and_its_policy_deployed(kind: str, tmp_path: Path) -> None:
    augment = {"augment": True} if "pictures" in kind else {}
    algo = tiny_config(kind, reset_at_iteration=True, **augment).build_algo()
    before = module_of(learner_of(algo)).get_state()
    results = [algo.train()["learners"][DEFAULT_MODULE_ID] for _ in range(2)]
    assert all(np.isfinite(result["total_loss"]) for result in results)
    after = module_of(learner_of(algo)).get_state()
    still = {key for key in before if np.array_equal(before[key], after[key])}
    assert still >= {key for key in before if key.startswith("policy.actor.")}
    trained = ("policy.actor_ft.", "policy.eta.", "critic.")
    # Bounds are constants, and what attends to a single token need not know it.
    constant = ("logvar_min", "logvar_max", "norm2.weight", "norm2.bias")
    assert not [key for key in still if key.startswith(trained) and not key.endswith(constant)]

    algo.save_to_path(str(tmp_path / "checkpoint"))
    resumed = type(algo).from_checkpoint(str(tmp_path / "checkpoint"))
    assert_same(algo, resumed)
    assert_acts_alike(load_policy(tmp_path / "checkpoint").build(), algo)
    for run in (algo, resumed):
        run.train()
    assert resumed.iteration == 3
    assert_same(algo, resumed)
    assert_samples_with_present_weights(algo)
    algo.stop()
    resumed.stop()


def assert_acts_alike(policy: Any, algo: Any) -> None:
    obs, noise = observations(policy.config), policy.draw_noise(5)
    for deterministic in (False, True):
        chains = [
            p.sample(obs, noise=noise, deterministic=deterministic)
            for p in (policy, module_of(learner_of(algo)).policy)
        ]
        # In evaluation mode torch's attention rounds otherwise.
        torch.testing.assert_close(*chains, rtol=1e-6, atol=1e-6, equal_nan=True)


def assert_samples_with_present_weights(algo: Any) -> None:
    """Also where a noise level is learned."""
    algo._sample(algo._acting_weights())
    modules = algo.env_runner.module, module_of(learner_of(algo))
    own, theirs = (m.get_state(["actor", "actor_ft", "eta"]) for m in modules)
    assert own.keys() == theirs.keys()
    assert all(np.array_equal(own[key], theirs[key]) for key in own)


@pytest.mark.parametrize("kind", DIFFUSION)
def test_a_single_fine_tuned_step_trains(kind: str) -> None:
    learner, runner = build(tiny_config(kind, ft_denoising_steps=1))
    before = module_of(learner).get_state(["actor_ft"])
    trajectories = rollout(learner, runner)
    assert trajectories.log_probs.shape[2] == 1
    assert update(learner, trajectories)["num_skipped_updates"] == 0
    after = module_of(learner).get_state(["actor_ft"])
    weights = [key for key in before if "." in key]
    assert all(np.isfinite(after[key]).all() for key in weights)
    assert not [key for key in weights if np.array_equal(before[key], after[key])]


@pytest.mark.parametrize("kind", ["ddpm", "learned_eta", "pictures", "exact", "gaussian", "gmm"])
def test_staying_close_to_the_base_is_a_finite_loss(kind: str) -> None:
    learner, runner = build(tiny_config(kind, bc_loss_coeff=1.0, normalize_advantages=False))
    data = learner._prepare(rollout(learner, runner))
    data.advantages.zero_()
    learner._accumulate(data, torch.arange(10), torch.Generator())
    gradients = [p.grad for p in module_of(learner).policy.actor_ft.parameters()]
    assert all(g.isfinite().all() for g in gradients)
    assert any(g.any() for g in gradients)


@pytest.mark.parametrize("kind", ["gaussian_of_state", "gmm", "gaussian_pictures"])
def test_an_entropy_bonus_takes_no_pass_of_its_own(kind: str) -> None:
    learner, runner = build(tiny_config(kind, entropy_coeff=0.1, microbatch_size=5))
    data = learner._prepare(rollout(learner, runner))
    rows: list[int] = []
    network = module_of(learner).policy.actor_ft
    network.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    learner._accumulate(data, torch.arange(10), torch.Generator())
    assert rows == [5, 5]


@pytest.mark.parametrize("runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_pictures_without_an_encoder_are_refused_wherever_they_are_met(runners: int) -> None:
    config = tiny_config("ddpm").environment(PixelReach, env_config={"image_size": 16})
    config.env_runners(num_env_runners=runners)
    with pytest.raises(ValueError, match=r"vision=None: observations have pictures of shape \(3"):
        config.build_algo()


# What a run starts from


def save_base(path: Path, config: Any) -> Path:
    """A policy that was only pre-trained."""
    return save_policy(PolicyCheckpoint(config, build_policy(config).state_dict()), path / "base")


CLONES: dict[str, Callable[..., Any]] = {
    "gaussian": lambda **std: GaussianPolicyConfig(
        1, 1, act_steps=2, network=GaussianMLPConfig(mlp_dims=(16, 16, 16), **std)
    ),
    "gmm": lambda **std: GMMPolicyConfig(
        1, 1, act_steps=2, network=GMMMLPConfig(mlp_dims=(16, 16, 16), num_modes=2, **std)
    ),
}


@pytest.mark.parametrize("kind", CLONES)
def test_a_constant_deviation_is_learned_from_where_cloning_kept_it(
    kind: str, tmp_path: Path
) -> None:
    clone = CLONES[kind](fixed_std=0.05, learn_fixed_std=False, std_min=0.04, std_max=1.0)
    base = save_base(tmp_path, clone)
    config = KINDS[kind][0]().training(base_policy=base).environment(TwoModes)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    algo = config.debugging(log_sys_usage=False).build_algo()
    policy, weights = module_of(learner_of(algo)).policy, load_policy(base).component("actor")
    for network in (policy.actor, policy.actor_ft):
        std = network(network.encode(observations(clone)))[1]
        torch.testing.assert_close(std, torch.full_like(std, 0.05))
        bounds = [network.logvar_min, network.logvar_max]
        np.testing.assert_allclose(bounds, 2 * np.log([0.01, 0.2]), rtol=1e-6)
        for key, value in network.state_dict().items():
            assert "logvar" in key or torch.equal(value, weights[key])
    assert [p.requires_grad for p in (policy.actor.logvar, policy.actor_ft.logvar)] == [False, True]
    algo.stop()


@pytest.mark.parametrize(("std", "bounds"), [(0.5, (0.01, 1.0)), (0.002, (0.001, 0.2))])
def test_a_deviation_beyond_the_bounds_widens_them(
    std: float, bounds: tuple[float, float], tmp_path: Path
) -> None:
    clone = CLONES["gaussian"](fixed_std=std, learn_fixed_std=False)
    config = GaussianPPOConfig().training(base_policy=save_base(tmp_path, clone))
    network = config.network
    assert (network["fixed_std"], network["std_min"], network["std_max"]) == (std, *bounds)
    config.environment(TwoModes).validate()


LEARNED = {"fixed_std": 0.1, "std_min": 0.05, "std_max": 0.3}


@pytest.mark.parametrize("kind", CLONES)
def test_a_deviation_that_cloning_learned_is_learned_further(kind: str, tmp_path: Path) -> None:
    clone = CLONES[kind](**LEARNED)
    cloned = build_policy(clone)
    cloned.actor.logvar.data.add_(0.7)
    base = save_policy(PolicyCheckpoint(clone, cloned.state_dict()), tmp_path / "base")
    config = KINDS[kind][0]().training(base_policy=base).environment(TwoModes)
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=1)
    algo = config.debugging(log_sys_usage=False).build_algo()
    policy = module_of(learner_of(algo)).policy
    torch.testing.assert_close(policy.actor_ft.logvar.data, cloned.actor.logvar.data)
    algo.stop()


@pytest.mark.parametrize(
    ("name", "value"), [("learn_fixed_std", False), ("std_min", 0.01), ("std_max", 0.2)]
)
def test_how_a_learned_deviation_is_bounded_cannot_be_chosen_anew(
    name: str, value: Any, tmp_path: Path
) -> None:
    base = save_base(tmp_path, CLONES["gaussian"](**LEARNED))
    config = GaussianPPOConfig().training(base_policy=base).environment(TwoModes)
    config.training(network={**config.network, name: value})
    with pytest.raises(ValueError, match=f"network.{name}={value}: .* has learned its standard"):
        config.validate()


def test_a_deviation_of_the_state_is_not_given_up(tmp_path: Path) -> None:
    clone = CLONES["gaussian"](fixed_std=None, learn_fixed_std=False, residual=False)
    config = GaussianPPOConfig().training(base_policy=save_base(tmp_path, clone))
    config.environment(TwoModes).validate()
    config.training(network={**config.network, "fixed_std": 0.1})
    with pytest.raises(ValueError, match="network.fixed_std=0.1: .* another architecture"):
        config.validate()


def diffusion_clone(**config: Any) -> DiffusionPolicyConfig:
    network = DiffusionMLPConfig(mlp_dims=(16, 16, 16), time_dim=8)
    return DiffusionPolicyConfig(1, 1, act_steps=2, network=network, **config)


def test_what_was_cloned_with_dropout_is_fine_tuned(tmp_path: Path) -> None:
    vision = VisionConfig(dropout=0.5)
    base = save_base(tmp_path, diffusion_clone(image_shape=(3, 16, 16), vision=vision))
    config = DPPOConfig().training(base_policy=base).environment(TwoModes)
    config.validate()
    assert config.policy_config(1, 1, (3, 16, 16)).vision == vision


def test_exact_likelihoods_start_from_a_diffusion_policy(tmp_path: Path) -> None:
    base = save_base(tmp_path, diffusion_clone())
    config = ExactDPPOConfig().training(base_policy=base, ft_denoising_steps=3)
    config.environment(TwoModes).validate()
    assert config.policy_config(1, 1).kind == "exact_diffusion"
    assert config.denoising_steps == 20 and config.act_steps == 2


@pytest.mark.parametrize("config_class", [DPPOConfig, ExactDPPOConfig])
def test_fine_tuning_goes_on_with_the_steps_it_began_with(
    config_class: Any, tmp_path: Path
) -> None:
    base = save_base(tmp_path, diffusion_clone(ft_denoising_steps=3))
    config = config_class().training(base_policy=base).environment(TwoModes)
    assert config.ft_denoising_steps == 3
    config.validate()
    with pytest.raises(ValueError, match="ft_denoising_steps=5: base_policy=.*_steps=3"):
        config.training(ft_denoising_steps=5).validate()


@pytest.mark.parametrize(
    ("config_class", "clone", "message"),
    [
        (
            DPPOConfig,
            CLONES["gaussian"](),
            "of kind gaussian, but DPPOConfig starts from diff",
        ),
        (ExactDPPOConfig, CLONES["gmm"](), "of kind gmm, .* from diffusion or exact_diffusion"),
        (GaussianPPOConfig, CLONES["gmm"](), "of kind gmm, .* starts from gaussian"),
        (GMMPPOConfig, diffusion_clone(), "of kind diffusion, but GMMPPOConfig starts from gmm"),
    ],
)
def test_a_policy_of_another_kind_is_refused_by_name(
    config_class: Any, clone: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"base_policy=.*: a policy {message}"):
        config_class().training(base_policy=save_base(tmp_path, clone))
