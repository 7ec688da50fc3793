"""Every kind of policy as RLlib sees it: what its state is made of, acting, scoring."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from torch import nn

from dppo_rllib.modules import DiffusionRLModule, GaussianRLModule, GMMRLModule
from dppo_rllib.modules.bc_module import BCModule
from dppo_rllib.modules.chunk_module import (
    CHAIN_NEXT,
    CHAIN_PREV,
    CHAINS,
    ENCODED,
    FT_INDEX,
    LOG_PROBS,
    NOISE,
    ExactDiffusionRLModule,
    shapes_of,
)

MLP = {"mlp_dims": (16, 16, 16)}
DENOISER = MLP | {"time_dim": 8}
DDPM = {"network": DENOISER, "ft_denoising_steps": 2, "denoising": {"denoising_steps": 4}}
DDIM = DDPM | {"denoising": {"denoising_steps": 8, "ddim_steps": 4}}
ETA = {"kind": "state", "mlp_dims": (4,)}
VISION = {"embed_dim": 8, "num_heads": 2, "spatial_emb": 4, "dropout": 0.5}
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DiffusionRLModule, DDPM),
    "learned_eta": (DiffusionRLModule, DDIM | {"learned_eta": ETA}),
    "exact": (ExactDiffusionRLModule, DDPM | {"likelihood": {"step_size": 0.25}}),
    "gaussian": (GaussianRLModule, {"network": MLP, "fine_tuned": True}),
    "gmm": (GMMRLModule, {"network": MLP | {"num_modes": 2}, "fine_tuned": True}),
    "pictures": (DiffusionRLModule, DDPM | {"vision": VISION}),
    "gaussian_pictures": (
        GaussianRLModule,
        {"network": MLP, "fine_tuned": True, "vision": VISION},
    ),
}
SCHEDULED = {
    "exact": {"min_sampling_denoising_std"},
    "gaussian": set(),
    "gmm": set(),
    "gaussian_pictures": set(),
}
ANNEALED = {"ft_denoising_steps", "min_sampling_denoising_std"}
ROWS = 5


def build(kind: str, cls: Any = None, **changes: Any) -> Any:
    own, values = KINDS[kind]
    box = gymnasium.spaces.Box
    spaces = {"state": box(-1, 1, (1, 2), np.float32)}
    if "vision" in values:
        spaces["rgb"] = box(0, 255, (1, 3, 16, 16), np.uint8)
    torch.manual_seed(0)
    critic = {} if cls else {"critic": {"mlp_dims": (8, 8, 8)}}
    return (cls or own)(
        observation_space=gymnasium.spaces.Dict(spaces),
        action_space=box(-1, 1, (4, 3), np.float32),
        inference_only=changes.pop("inference_only", False),
        model_config=values | critic | changes,
    )


def moved(kind: str) -> Any:
    """A module whose fine-tuned network is no longer the base."""
    module = build(kind)
    for parameter in module.policy.actor_ft.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return module


def observations(kind: str) -> dict[str, torch.Tensor]:
    obs = {"state": torch.randn(ROWS, 1, 2)}
    if "vision" in KINDS[kind][1]:
        obs["rgb"] = torch.randint(256, (ROWS, 1, 3, 16, 16), dtype=torch.uint8)
    return obs


def prefixes(state: dict[str, Any]) -> set[str]:
    return {".".join(k.split(".")[: 1 + k.startswith("policy.")]) for k in state if "." in k}


@pytest.mark.parametrize("kind", KINDS)
def test_runners_are_sent_what_an_update_changes(kind: str) -> None:
    module = moved(kind)
    state = module.get_state(["actor_ft", "eta"])
    eta = {"policy.eta"} if kind == "learned_eta" else set()
    assert prefixes(state) == {"policy.actor_ft"} | eta
    assert {k for k in state if "." not in k} == SCHEDULED.get(kind, ANNEALED)
    assert prefixes(module.get_state()) == {"policy.actor", "policy.actor_ft", "critic"} | eta


@pytest.mark.parametrize("kind", KINDS)
def test_a_runner_with_the_state_acts_alike(kind: str) -> None:
    module, runner = moved(kind), build(kind, inference_only=True)
    assert not hasattr(runner, "critic")
    if kind == "learned_eta":
        nn.init.constant_(module.policy.eta.mlp_res.moduleList[-1][0].bias, 0.2)
    obs, noise = observations(kind), module.policy.draw_noise(ROWS)
    batch = {Columns.OBS: obs, NOISE: noise}
    assert not torch.equal(
        runner.forward_exploration(batch)[CHAINS], module.forward_exploration(batch)[CHAINS]
    )
    runner.set_state(module.get_state(["actor_ft", "eta"]))
    for forward in ("forward_exploration", "forward_inference"):
        own, theirs = getattr(module, forward)(batch), getattr(runner, forward)(batch)
        torch.testing.assert_close(own, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("kind", KINDS)
def test_training_scores_chains_as_acting_did(kind: str) -> None:
    """With dropout in the encoders of pictures, which is for cloning."""
    module, obs = moved(kind), observations(kind)
    acted = module.forward_exploration({Columns.OBS: obs})
    chains, steps = acted[CHAINS], module.policy.chain_steps
    assert acted[LOG_PROBS].shape == (ROWS, steps) and chains.shape == (ROWS, steps + 1, 4, 3)
    for k in range(steps):
        batch = {
            CHAIN_PREV: chains[:, k],
            CHAIN_NEXT: chains[:, k + 1],
            FT_INDEX: torch.full((ROWS,), k),
        }
        for given in ({Columns.OBS: obs}, {ENCODED: module.policy.encode(obs)}):
            log_probs = module.forward_train(batch | given)[LOG_PROBS]
            assert log_probs.requires_grad
            torch.testing.assert_close(log_probs, acted[LOG_PROBS][:, k], rtol=1e-5, atol=1e-5)


def test_asking_for_training_does_not_switch_dropout_on() -> None:
    module = build("pictures")
    for switch in (module.train, module.eval):
        switch()
        dropouts = [m for m in module.modules() if isinstance(m, nn.Dropout)]
        assert len(dropouts) == 3 and not any(m.training for m in dropouts)


def test_cloning_drops_units_of_the_online_network_alone() -> None:
    module = build("pictures", BCModule, ft_denoising_steps=0)
    training = {
        name: {m.training for m in network.modules() if isinstance(m, nn.Dropout)}
        for name, network in (("online", module.online), ("average", module.policy))
    }
    assert training == {"online": {True}, "average": {False}}


def test_an_incomplete_noise_level_is_refused_by_name() -> None:
    module = build("learned_eta")
    state = module.get_state(["eta"])
    removed = next(k for k in state if k.startswith("policy.eta."))
    del state[removed]
    with pytest.raises(ValueError, match=f"'eta': missing .*{removed}"):
        module.set_state(state)


def test_a_schedule_that_a_policy_does_not_have_is_refused() -> None:
    state = build("ddpm").get_state(["actor_ft"])
    only_schedule = {k: v for k, v in state.items() if k == "ft_denoising_steps"}
    with pytest.raises(ValueError, match="'ft_denoising_steps'.*: expected keys"):
        build("exact").set_state(only_schedule)


def test_shapes_come_from_the_spaces() -> None:
    module = build("pictures")
    assert shapes_of(module.observation_space, module.action_space) == {
        "obs_dim": 2,
        "action_dim": 3,
        "image_shape": (3, 16, 16),
    }
    config = module.policy.config
    assert (config.obs_dim, config.action_dim, config.image_shape) == (2, 3, (3, 16, 16))


@pytest.mark.parametrize("kind", ["ddpm", "pictures"])
def test_values_are_one_per_observation_and_see_all_of_it(kind: str) -> None:
    module, obs = build(kind), observations(kind)
    values = module.compute_values({Columns.OBS: obs})
    assert values.shape == (ROWS,) and values.dtype == torch.float32
    for key in obs:
        changed = obs | {key: obs[key].flip(0)}
        assert not torch.equal(module.compute_values({Columns.OBS: changed}), values)


def test_pictures_without_an_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match="vision=None: observations have pictures"):
        build("pictures", vision=None)
