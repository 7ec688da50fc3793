"""Gaussian policies and mixtures: read off weights, and exactly the authors'."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from golden_tensors import assert_close, golden, weights
from official_files import (
    StateDict,
    normalization,
    official_state,
    write_fine_tuned,
    write_pretrained,
)
from torch import Tensor

from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy, save_policy
from dppo_rllib.checkpoints.official import import_official
from dppo_rllib.modules import GaussianPolicyConfig, GMMPolicyConfig
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.networks import Critic, CriticConfig, ObservationSpec, VisionConfig
from dppo_rllib.networks.gaussian import GaussianMLP, GaussianMLPConfig
from dppo_rllib.networks.gmm import GMMMLP, GMMMLPConfig
from dppo_rllib.networks.transformer import (
    GaussianTransformer,
    GaussianTransformerConfig,
    GMMTransformer,
    GMMTransformerConfig,
)

CKPT = Path(__file__).parents[1] / "golden" / "ckpt"
BY_STATE: dict[str, Any] = {"fixed_std": None, "learn_fixed_std": False, "std_max": 1.0}
CONSTANT: dict[str, Any] = {"learn_fixed_std": False, "std_max": 1.0}
# Golden files: the arguments they need, and the architecture that they are of.
GAUSSIANS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gauss_fixedstd": ({"activation": "ReLU"}, {"activation": "ReLU"}),
    "gauss_const": (
        {"action_dim": 3, "activation": "Mish", "network": {"fixed_std": 0.1}},
        CONSTANT,
    ),
    "gauss_learned": (
        {"action_dim": 3, "activation": "Mish"},
        BY_STATE | {"residual": False},
    ),
    "gauss_learned_notanh": (
        {"action_dim": 3, "activation": "Mish", "network": {"tanh_output": False}},
        BY_STATE | {"residual": False, "tanh_output": False, "use_layernorm": True},
    ),
}
MIXTURES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gmm_fixedstd": ({"activation": "Mish"}, {"num_modes": 3}),
    "gmm_learned": ({"action_dim": 3, "activation": "Mish"}, BY_STATE | {"num_modes": 2}),
}


def imported(name: str) -> PolicyCheckpoint:
    return import_official(CKPT / f"{name}.pt", **(GAUSSIANS | MIXTURES)[name][0])


def states() -> dict[str, Tensor]:
    return {"state": golden("gauss/obs")}


def values(policy: PolicyCheckpoint) -> Tensor:
    critic = Critic(build_dataclass(CriticConfig, policy.critic or {}), ObservationSpec(5))
    critic.load_state_dict(policy.component("critic"))
    return critic(states())


@pytest.mark.parametrize("name", GAUSSIANS)
def test_gaussian_policy_is_read_off_its_weights(name: str):
    network = GaussianMLPConfig(**({"mlp_dims": (32, 32, 32)} | GAUSSIANS[name][1]))
    assert imported(name).config == GaussianPolicyConfig(5, 3, network=network, fine_tuned=True)


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_is_read_off_its_weights(name: str):
    network = GMMMLPConfig(**({"mlp_dims": (32, 32, 32)} | MIXTURES[name][1]))
    assert imported(name).config == GMMPolicyConfig(5, 3, network=network, fine_tuned=True)


@pytest.mark.parametrize("name", GAUSSIANS)
def test_gaussian_policy_is_the_authors(name: str):
    policy = imported(name).build()
    mean, std = policy.encode(states()).values()
    assert_close(mean.flatten(1), golden(f"gauss/{name}/mean"))
    assert_close(std.flatten(1), golden(f"gauss/{name}/scale"))
    log_prob = -policy.bc_loss(policy.acting, states(), golden("gauss/actions"), {})
    assert_close(log_prob, golden(f"gauss/{name}/logprobs"))
    for deterministic in (False, True):
        key = f"gauss/{name}/sample{int(deterministic)}"
        noise = golden(f"{key}_noise").view(1, 24, 4, 3)
        chain = policy.sample(states(), noise=noise, deterministic=deterministic)
        assert_close(chain.chunk, golden(key))


@pytest.mark.parametrize("name", MIXTURES)
def test_mixture_is_the_authors(name: str):
    policy = imported(name).build()
    means, stds, logits = policy.encode(states()).values()
    assert_close(means.flatten(2), golden(f"gauss/{name}/means"))
    assert_close(stds.flatten(2), golden(f"gauss/{name}/scales"))
    assert_close(logits, golden(f"gauss/{name}/logits"))
    log_prob = -policy.bc_loss(policy.acting, states(), golden("gauss/actions"), {})
    assert_close(log_prob * 12, golden(f"gauss/{name}/logprobs"))  # theirs are sums


@pytest.mark.parametrize("name", [*GAUSSIANS, *MIXTURES])
def test_imported_policy_survives_saving_and_loading(tmp_path: Path, name: str):
    policy = imported(name)
    loaded = load_policy(save_policy(policy, tmp_path / "policy"))
    assert loaded.config == policy.config
    assert loaded.provenance == policy.provenance
    assert all(torch.equal(loaded.weights[key], v) for key, v in policy.weights.items())
    assert torch.equal(values(loaded), values(policy))


def test_base_of_a_gaussian_policy_is_the_frozen_one(tmp_path: Path):
    trained, base = (weights("gauss_fixedstd", f"{p}.", "model") for p in ("actor_ft", "actor"))
    base = {k: v + 0.01 if k.startswith("mlp_mean") else v for k, v in base.items()}
    critic = weights("gauss_fixedstd", "critic.", "model")
    path = write_fine_tuned(tmp_path, network=trained, actor=base, actor_ft=trained, critic=critic)
    policy = import_official(path, activation="ReLU")
    for part, expected in (("actor", base), ("actor_ft", trained)):
        assert all(torch.equal(v, expected[k]) for k, v in policy.component(part).items())
    swapped = write_fine_tuned(tmp_path, network=base, actor=base, actor_ft=trained, critic=critic)
    with pytest.raises(ValueError, match="actor_ft.mlp_mean.* differs from network.* fine-tuned"):
        import_official(swapped, activation="ReLU")


def test_fine_tuned_mixture_says_that_it_has_no_base():
    policy = imported("gmm_fixedstd")
    assert policy.provenance["base"].startswith("not in the file")
    base, trained = policy.component("actor"), policy.component("actor_ft")
    assert all(torch.equal(base[key], value) for key, value in trained.items())
    assert "base" not in imported("gauss_fixedstd").provenance


def test_gaussian_policy_that_sees_pictures_is_the_authors(tmp_path: Path):
    path = write_pretrained(tmp_path, weights("net_gaussianvision"))
    checkpoint = import_official(
        path, activation="Mish", image_size=(48, 48), vision={"num_heads": 2}
    )
    assert checkpoint.config.vision == VisionConfig(embed_dim=16, num_heads=2, spatial_emb=8)
    assert checkpoint.config.action_dim == 3  # told by the standard deviation
    policy = checkpoint.build()
    obs = {"state": golden("net/gaussianvision/in_obs"), "rgb": golden("net/gaussianvision/in_rgb")}
    mean, std = policy.acting(policy.acting.encode(obs))
    assert_close(mean.flatten(1), golden("net/gaussianvision/out0"))
    assert_close(std.flatten(1), golden("net/gaussianvision/out1"))


STDS = [{"fixed_std": 0.1}, {"fixed_std": 0.07, "learn_fixed_std": False}, BY_STATE]
HEADS: list[tuple[Any, Any]] = [
    (GaussianMLP, {"mlp_dims": (16, 16, 16), "use_layernorm": True}),
    (GaussianMLP, {"mlp_dims": (24, 8), "residual": False, "activation": "ReLU"}),
    (GMMMLP, {"mlp_dims": (16,), "num_modes": 2}),
    (GaussianTransformer, {"embed_dim": 8, "num_heads": 2, "num_layers": 3}),
    (GMMTransformer, {"embed_dim": 8, "num_heads": 2, "num_layers": 1, "num_modes": 4}),
]
CONFIGS: dict[Any, Any] = {
    GaussianMLP: GaussianMLPConfig,
    GMMMLP: GMMMLPConfig,
    GaussianTransformer: GaussianTransformerConfig,
    GMMTransformer: GMMTransformerConfig,
}


@pytest.mark.parametrize("std", STDS)
@pytest.mark.parametrize(("head", "values"), HEADS)
def test_any_head_is_read_off_its_weights(tmp_path: Path, head: Any, values: Any, std: Any):
    if head is GaussianMLP and values["mlp_dims"] == (16, 16, 16) and std["fixed_std"] is None:
        values = values | {"mlp_dims": (16, 16, 16, 24)}  # blocks, then the last shared layer
    config = CONFIGS[head](**(values | std))
    network = head(config, ObservationSpec(10), horizon_steps=4, action_dim=3)
    overrides = {"num_heads": 2} if "num_heads" in values else {}
    if std.get("learn_fixed_std") is False and std["fixed_std"] is not None:
        overrides["fixed_std"] = std["fixed_std"]
    policy = import_official(
        write_pretrained(tmp_path, official_state(network)),
        normalization=normalization(5, 3),
        cond_steps=2,
        activation=config.activation,
        network=overrides,
    )
    assert policy.config.network == config
    assert not policy.config.fine_tuned
    assert (policy.config.horizon_steps, policy.config.act_steps) == (4, 4)
    features = torch.randn(6, 10)
    for ours, theirs in zip(policy.build().actor(features), network(features), strict=True):
        assert torch.equal(ours, theirs)


def test_shared_layers_without_blocks_may_have_a_layernorm(tmp_path: Path):
    config = GaussianMLPConfig(mlp_dims=(16, 24), use_layernorm=True, **BY_STATE)
    network = GaussianMLP(config, ObservationSpec(5), horizon_steps=4, action_dim=3)
    path = write_pretrained(tmp_path, official_state(network))
    assert import_official(path, action_dim=3, activation="Mish").config.network == config


def transformer(tmp_path: Path, **std: Any) -> Path:
    config = GaussianTransformerConfig(embed_dim=8, num_heads=2, num_layers=1, **std)
    network = GaussianTransformer(config, ObservationSpec(5), horizon_steps=4, action_dim=3)
    return write_pretrained(tmp_path, official_state(network))


def test_a_transformer_needs_the_action_dimension_to_tell_its_outputs(tmp_path: Path):
    path = transformer(tmp_path, **BY_STATE)
    with pytest.raises(ValueError, match="action_dim: .* gives 6 numbers per action"):
        import_official(path)
    with pytest.raises(ValueError, match="action_dim=4: .* 6 numbers per action, expected 4 or 8"):
        import_official(path, action_dim=4)
    policy = import_official(path, action_dim=6, network={"num_heads": 2, "fixed_std": 0.1})
    assert policy.config.network.fixed_std == 0.1
    policy = import_official(path, action_dim=3, network={"num_heads": 2})
    assert policy.config.network.fixed_std is None
    assert policy.provenance["assumed"] == {"activation": "gelu", "randn_clip_value": 3.0}


def test_learned_standard_deviation_goes_on_from_where_it_is(tmp_path: Path):
    state = weights("gauss_fixedstd", "actor.", "model")
    state["logvar"] = torch.tensor([0.04, 0.05, 0.4]).log() * 2  # the last is out of bounds
    policy = import_official(write_pretrained(tmp_path, state), activation="ReLU")
    assert policy.config.network.fixed_std == pytest.approx((0.04 * 0.05 * 0.2) ** (1 / 3), 1e-4)


def test_what_a_constant_standard_deviation_was_must_be_passed():
    arguments = {"action_dim": 3, "activation": "Mish"}
    with pytest.raises(ValueError, match=r"network.fixed_std.* pass network=\{'fixed_std': ...\}"):
        import_official(CKPT / "gauss_const.pt", **arguments)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gauss_fixedstd", {"action_dim": 4}, "action_dim=4: actions in .* have 3 numbers"),
        ("gauss_fixedstd", {"horizon_steps": 8}, "horizon_steps=8: chunks in .* have 4"),
        ("gauss_fixedstd", {"network": {"std_max": 1.0}}, "network.std_max=1.0: .* are of 0.2"),
        ("gauss_fixedstd", {"network": {"fixed_std": 0.5}}, "fixed_std=0.5: learning starts there"),
        ("gauss_learned", {"network": {"fixed_std": 0.1}}, "network.fixed_std=0.1: .* of None"),
        ("gmm_fixedstd", {"network": {"num_modes": 5}}, "network.num_modes=5: .* are of 3"),
        ("gmm_fixedstd", {"network": {"tanh_output": True}}, "tanh_output: unknown field"),
        ("gauss_fixedstd", {"denoising_steps": 20}, "denoising_steps=20: .* a Gaussian policy"),
        ("gmm_learned", {"ft_denoising_steps": 1}, "ft_denoising_steps=1: .* a Gaussian mixture"),
        ("gauss_const", {"predict_epsilon": False}, "predict_epsilon=False: .* no such setting"),
        ("gauss_const", {"min_logprob_denoising_std": 0.1}, "min_logprob.* no such setting"),
        ("gauss_const", {"denoising": {"eta": 1.0}}, "denoising=.* no such setting"),
        ("gauss_const", {"learned_eta": {"kind": "action"}}, "learned_eta=.* no such setting"),
    ],
)
def test_argument_that_does_not_fit_is_an_error(name: str, changes: dict[str, Any], message: str):
    arguments = (GAUSSIANS | MIXTURES)[name][0]
    with pytest.raises(ValueError, match=message):
        import_official(CKPT / f"{name}.pt", **(arguments | changes))


def test_bound_on_noise_is_the_authors_or_as_given():
    assert imported("gauss_fixedstd").config.randn_clip_value == 3
    assert imported("gauss_fixedstd").provenance["assumed"]["randn_clip_value"] == 3
    assert imported("gmm_fixedstd").config.randn_clip_value is None
    path = CKPT / "gmm_fixedstd.pt"
    policy = import_official(path, activation="Mish", randn_clip_value=2.0)
    assert policy.config.randn_clip_value == 2


def changed(state: StateDict, change: StateDict, *missing: str) -> StateDict:
    assert all(key in state for key in missing)
    return {k: v for k, v in (state | change).items() if k not in missing}


@pytest.mark.parametrize(
    ("name", "change", "missing", "message"),
    [
        ("gauss_learned", {}, ["mlp_base.moduleList.1.linear_1.weight"], "missing keys? .*List.1"),
        ("gauss_learned", {}, ["mlp_mean.moduleList.0.linear_1.bias"], "missing keys? .*mlp_mean"),
        ("gauss_fixedstd", {}, ["logvar_max"], "missing key network.logvar_max"),
        (
            "gauss_fixedstd",
            {"logvar_max": torch.zeros(2)},
            [],
            "logvar_max has shape .* one number",
        ),
        ("gauss_fixedstd", {"stray": torch.zeros(1)}, [], r"unknown keys \['network.stray'\]"),
        ("gmm_fixedstd", {"logvar": torch.zeros(8)}, [], "logvar gives 8 .* multiple of the 3"),
        ("gmm_fixedstd", {}, ["mlp_weights.layers.2.weight"], "missing key network.mlp_weights"),
        (
            "gauss_fixedstd",
            {"mlp_logvar.moduleList.0.linear_1.weight": torch.zeros(12, 5)},
            [],
            "a standard deviation that depends on pictures .* not supported",
        ),
        ("gauss_fixedstd", {"transformer.x": torch.zeros(1)}, [], "a transformer .* and of an MLP"),
    ],
)
def test_weights_of_no_head_of_the_authors_are_named(
    tmp_path: Path, name: str, change: StateDict, missing: list[str], message: str
):
    state = changed(weights(name, "actor_ft.", "model"), change, *missing)
    with pytest.raises(ValueError, match=message):
        import_official(write_pretrained(tmp_path, state), action_dim=3, activation="Mish")
