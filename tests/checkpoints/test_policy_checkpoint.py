"""A policy on disk is whole, and is read as exactly what it says it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy, save_policy
from dppo_rllib.denoising import DenoisingConfig
from dppo_rllib.environments import Normalization
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.networks import Critic, CriticConfig, DiffusionMLPConfig, ObservationSpec

CONFIG = DiffusionPolicyConfig(
    obs_dim=5,
    action_dim=3,
    cond_steps=2,
    ft_denoising_steps=2,
    denoising=DenoisingConfig(denoising_steps=4),
    network=DiffusionMLPConfig(mlp_dims=(8, 8, 8), time_dim=4, cond_mlp_dims=(6, 4)),
)
CRITIC = CriticConfig(mlp_dims=(8,))


def make_checkpoint(seed: int = 0, **fields: Any) -> PolicyCheckpoint:
    torch.manual_seed(seed)
    critic = Critic(CRITIC, ObservationSpec(10)).state_dict()
    ends = [np.full(d, v, np.float32) for d in (5, 3) for v in (-0.1, 0.7)]
    values: dict[str, Any] = {
        "config": CONFIG,
        "weights": DiffusionPolicy(CONFIG).state_dict()
        | {f"critic.{key}": value for key, value in critic.items()},
        "normalization": Normalization(*ends),
        "task": "reach",
        "env": {"id": "Reach-v0", "config": {"size": 3}, "max_episode_steps": 50},
        "critic": asdict(CRITIC),
        "provenance": {"iterations": 7},
    }
    return PolicyCheckpoint(**(values | fields))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_policy(make_checkpoint(), tmp_path / "policy")


@pytest.fixture
def rewrite(saved: Path) -> Callable[[Callable[[dict[str, Any]], Any]], Path]:
    """Changes the description of the saved policy."""

    def change(edit: Callable[[dict[str, Any]], Any]) -> Path:
        values = json.loads((saved / "policy.json").read_text())
        edit(values)
        (saved / "policy.json").write_text(json.dumps(values))
        return saved

    return change


def change_weights(path: Path, edit: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(path / "policy.safetensors")
    weights = {key: value.clone() for key, value in weights.items()}
    edit(weights)
    save_file(weights, path / "policy.safetensors")


# --- Whole -------------------------------------------------------------------------------------


def test_everything_survives_saving_and_loading(saved: Path):
    given, loaded = make_checkpoint(), load_policy(saved)
    assert loaded.config == given.config
    assert loaded.normalization == given.normalization
    assert (loaded.task, loaded.env, loaded.provenance) == (
        given.task,
        given.env,
        given.provenance,
    )
    assert set(loaded.weights) == set(given.weights)
    assert all(torch.equal(loaded.weights[k], v) for k, v in given.weights.items())
    assert (loaded.critic or {}).keys() == (given.critic or {}).keys()


def test_a_policy_without_critic_normalization_and_environment_is_whole(tmp_path: Path):
    weights = {k: v for k, v in make_checkpoint().weights.items() if not k.startswith("critic.")}
    absent = dict.fromkeys(("normalization", "task", "env", "critic"))
    given = make_checkpoint(weights=weights, provenance={}, **absent)
    loaded = load_policy(save_policy(given, tmp_path / "policy"))
    assert (loaded.normalization, loaded.task, loaded.env, loaded.critic) == (None,) * 4
    assert loaded.component("critic") == {}


def test_loaded_policy_acts_as_the_saved_one(saved: Path):
    obs, noise = {"state": torch.randn(3, 2, 5)}, torch.randn(5, 3, 4, 3)
    chains = [p.build().sample(obs, noise=noise) for p in (make_checkpoint(), load_policy(saved))]
    assert torch.equal(chains[0].x, chains[1].x)


def test_components_are_told_apart_by_whole_names(saved: Path):
    loaded = load_policy(saved)
    actor, actor_ft = loaded.component("actor"), loaded.component("actor_ft")
    assert actor.keys() == actor_ft.keys()
    assert all(not key.startswith(("ft", "_ft", ".")) for key in actor)


def test_a_policy_is_found_in_the_checkpoint_that_holds_it(saved: Path):
    assert load_policy(saved.parent).config == CONFIG


def test_saved_policy_is_as_readable_as_any_directory(saved: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    assert saved.stat().st_mode == (tmp_path / "other").stat().st_mode


# --- Replacement -------------------------------------------------------------------------------


def test_an_earlier_policy_is_replaced(saved: Path):
    assert save_policy(make_checkpoint(seed=1, task="push"), saved) == saved
    loaded = load_policy(saved)
    assert loaded.task == "push"
    key = "actor.mlp_mean.layers.0.weight"
    assert torch.equal(loaded.weights[key], make_checkpoint(seed=1).weights[key])
    assert [path.name for path in saved.parent.iterdir()] == ["policy"]


@pytest.mark.parametrize(
    "fields",
    [
        {"provenance": {"when": object()}},
        {"weights": {"actor.a": torch.zeros(2), "actor.b": "no tensor"}},
    ],
)
def test_failed_saving_leaves_the_earlier_policy_and_nothing_else(
    saved: Path, fields: dict[str, Any]
):
    with pytest.raises((TypeError, ValueError, AttributeError)):
        save_policy(make_checkpoint(seed=1, **fields), saved)
    assert load_policy(saved).task == "reach"
    assert [path.name for path in saved.parent.iterdir()] == ["policy"]


# --- Exactly what it says ----------------------------------------------------------------------


def test_missing_policy_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=f"no policy at {tmp_path}"):
        load_policy(tmp_path)


@pytest.mark.parametrize("text", ["", '{"format_version": 1,', "\x00\x01"])
def test_corrupt_json_is_an_error(saved: Path, text: str):
    (saved / "policy.json").write_text(text)
    with pytest.raises(ValueError, match=r"policy\.json: not valid JSON"):
        load_policy(saved)


@pytest.mark.parametrize("text", ["[]", "3", "null", '"policy"'])
def test_json_that_is_no_object_is_an_error(saved: Path, text: str):
    (saved / "policy.json").write_text(text)
    with pytest.raises(ValueError, match=r"policy\.json: "):
        load_policy(saved)


def test_binary_description_is_an_error(saved: Path):
    (saved / "policy.json").write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ValueError, match=r"policy\.json: "):
        load_policy(saved)


@pytest.mark.parametrize("size", [0, 4, 100, 2000])
def test_truncated_weights_are_an_error(saved: Path, size: int):
    weights = saved / "policy.safetensors"
    weights.write_bytes(weights.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"policy\.safetensors: cannot be read"):
        load_policy(saved)


def test_missing_weights_file_is_an_error(saved: Path):
    (saved / "policy.safetensors").unlink()
    with pytest.raises(ValueError, match=r"policy\.safetensors"):
        load_policy(saved)


@pytest.mark.parametrize("version", [2, 0, "1", None])
def test_other_format_version_is_an_error(rewrite: Any, version: Any):
    with pytest.raises(ValueError, match=r"format_version .*another version of dppo_rllib"):
        load_policy(rewrite(lambda values: values.update(format_version=version)))


def test_absent_format_version_is_an_error(rewrite: Any):
    with pytest.raises(ValueError, match="format_version"):
        load_policy(rewrite(lambda values: values.pop("format_version")))


def test_unknown_and_missing_fields_are_errors(rewrite: Any):
    path = rewrite(lambda values: values.update(colour="red"))
    with pytest.raises(ValueError, match="'colour'.* expected"):
        load_policy(path)
    path = rewrite(lambda values: [values.pop(key) for key in ("colour", "task")])
    with pytest.raises(ValueError, match="fields .* expected .*'task'"):
        load_policy(path)


@pytest.mark.parametrize("part", [None, "denoising", "network"])
def test_unknown_setting_is_named(rewrite: Any, part: str | None):
    def edit(values: dict[str, Any]) -> None:
        (values["config"][part] if part else values["config"])["flavour"] = 1

    with pytest.raises(ValueError, match=r"\w+Config\.flavour: unknown field"):
        load_policy(rewrite(edit))


@pytest.mark.parametrize("value", [None, 3, [], {"obs_dim": "eleven"}, {"obs_dim": 5}])
def test_description_of_another_shape_blames_the_description(rewrite: Any, value: Any):
    def edit(values: dict[str, Any]) -> None:
        values["config"] = values["config"] | value if value == {"obs_dim": "eleven"} else value

    with pytest.raises(ValueError) as error:
        load_policy(rewrite(edit))
    assert "policy.json" in str(error.value)
    assert "safetensors" not in str(error.value)


@pytest.mark.parametrize("value", [{}, {"obs_min": [0]}, [1], "none"])
def test_broken_normalization_names_its_file(rewrite: Any, value: Any):
    with pytest.raises(ValueError, match=r"policy\.json: .*normalization"):
        load_policy(rewrite(lambda values: values.update(normalization=value)))


@pytest.mark.parametrize(("obs", "action"), [(4, 3), (10, 3), (5, 2)])
def test_normalization_of_other_dimensions_is_an_error(rewrite: Any, obs: int, action: int):
    value = {"obs_min": [0] * obs, "obs_max": [1] * obs}
    value |= {"action_min": [0] * action, "action_max": [1] * action}
    with pytest.raises(ValueError, match="normalization: .* expected"):
        load_policy(rewrite(lambda values: values.update(normalization=value)))


def test_misshapen_weight_is_named(saved: Path):
    key = "actor_ft.mlp_mean.layers.0.bias"
    change_weights(saved, lambda weights: weights.update({key: torch.zeros(9)}))
    with pytest.raises(ValueError, match=rf"{key} has shape \(9,\), expected \(8,\)"):
        load_policy(saved)


def test_missing_and_unknown_weights_are_named(saved: Path):
    def edit(weights: dict[str, torch.Tensor]) -> None:
        weights["actor.stray"] = weights.pop("actor.mlp_mean.layers.0.bias")

    change_weights(saved, edit)
    with pytest.raises(
        ValueError,
        match=r"missing weights \['actor.mlp_mean.layers.0.bias'\].*unknown .*'actor.stray'",
    ):
        load_policy(saved)


def test_fine_tuned_weights_of_a_pre_trained_policy_are_an_error(tmp_path: Path):
    path = save_policy(
        make_checkpoint(config=replace(CONFIG, ft_denoising_steps=0)), tmp_path / "policy"
    )
    with pytest.raises(ValueError, match="unknown weights .*actor_ft"):
        load_policy(path)


@pytest.mark.parametrize(
    ("edit", "name"),
    [
        (lambda w: w.update({"critic.Q1.layers.0.weight": torch.zeros(8, 3)}), "layers.0.weight"),
        (lambda w: w.pop("critic.Q1.layers.1.bias"), "critic.Q1.layers.1.bias"),
        (lambda w: w.update({"critic.stray": torch.zeros(1)}), "critic.stray"),
    ],
)
def test_critic_weights_must_be_those_of_its_architecture(saved: Path, edit: Any, name: str):
    change_weights(saved, edit)
    with pytest.raises(ValueError, match=name):
        load_policy(saved)


def test_critic_weights_without_an_architecture_are_an_error(rewrite: Any):
    with pytest.raises(ValueError, match=r"critic"):
        load_policy(rewrite(lambda values: values.update(critic=None)))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"act_steps": 5}, "act_steps=5: .*horizon_steps=4"),
        ({"obs_dim": 0}, "obs_dim=0: expected at least 1"),
        ({"ft_denoising_steps": 5}, "ft_denoising_steps=5: expected 0 to the sampler's 4 steps"),
        ({"ft_denoising_steps": -1}, "ft_denoising_steps=-1"),
        ({"min_sampling_denoising_std": 0}, "min_sampling_denoising_std=0: .*positive"),
        ({"min_logprob_denoising_std": -1}, "min_logprob_denoising_std=-1: .*positive"),
    ],
)
def test_contradictory_configuration_is_an_error(rewrite: Any, edit: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        load_policy(rewrite(lambda values: values["config"].update(edit)))


@pytest.mark.parametrize(
    ("part", "edit", "message"),
    [
        ("denoising", {"ddim_steps": 5}, "ddim_steps=5: expected 1 to denoising_steps=4"),
        ("denoising", {"eps_clip_value": 1.0}, "eps_clip_value=1.0: only DDIM"),
        ("denoising", {"eta": 2}, "eta=2: expected a value in"),
        ("denoising", {"denoising_steps": 0}, "denoising_steps=0: expected a positive"),
        ("network", {"mlp_dims": [8, 8]}, r"mlp_dims=\[8, 8\]: .*odd number"),
        ("network", {"activation": "Sine"}, "activation='Sine'"),
        ("network", {"time_dim": 3}, "time_dim=3: expected an even number"),
    ],
)
def test_contradictory_denoising_or_network_is_an_error(
    rewrite: Any, part: str, edit: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        load_policy(rewrite(lambda values: values["config"][part].update(edit)))
