"""Checkpoints of the DPPO authors' code become native policies, or say why not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy, save_policy
from dppo_rllib.checkpoints.official import import_official
from dppo_rllib.denoising import DenoisingConfig
from dppo_rllib.environments import Normalization, make_chunked_env
from dppo_rllib.modules import DiffusionPolicyConfig
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.networks import Critic, CriticConfig, DiffusionMLPConfig, ObservationSpec
from dppo_rllib.rollouts.evaluation import policy_act, run_episodes

GOLDEN = Path(__file__).parents[1] / "golden"
CKPT = GOLDEN / "ckpt"
HOPPER = GOLDEN / "official_checkpoint" / "state_40.pt"
HOPPER_NORMALIZATION = GOLDEN / "official_checkpoint" / "normalization.npz"
FINE_TUNED: dict[str, Any] = {
    "action_dim": 3,
    "denoising_steps": 8,
    "ft_denoising_steps": 4,
    "activation": "ReLU",
}

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def golden() -> Any:
    return np.load(GOLDEN / "golden.npz")


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[Path, Change], Path]:
    """A copy of a checkpoint with its content changed."""

    def alter(source: Path, change: Change) -> Path:
        content = torch.load(source, weights_only=True)
        change(content)
        torch.save(content, tmp_path / "altered.pt")
        return tmp_path / "altered.pt"

    return alter


def normalization(obs_dim: int, action_dim: int) -> Normalization:
    ends = [np.full(d, v, np.float32) for d in (obs_dim, action_dim) for v in (-1, 1)]
    return Normalization(*ends)


def model(path: Path, name: str = "model") -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)[name]


def write_pretrained(path: Path, config: DiffusionPolicyConfig) -> Path:
    """A pre-trained checkpoint in the authors' format, with fresh weights."""
    state = {f"network.{k}": v for k, v in config.build_network().state_dict().items()}
    torch.save({"epoch": 1, "model": state, "ema": state}, path)
    return path


# --- What is imported --------------------------------------------------------------------------


def test_hopper_policy_of_the_authors_needs_only_its_normalization():
    policy = import_official(HOPPER, normalization=HOPPER_NORMALIZATION)
    assert policy.config == DiffusionPolicyConfig(
        obs_dim=11,
        action_dim=3,
        horizon_steps=4,
        act_steps=4,
        denoising=DenoisingConfig(denoising_steps=20),
        network=DiffusionMLPConfig(
            mlp_dims=(512, 512, 512), time_dim=16, activation="ReLU", residual=True
        ),
    )
    assert policy.normalization == Normalization.from_npz(HOPPER_NORMALIZATION)
    assert policy.critic is None
    assert policy.provenance == {
        "source": "DPPO authors' code",
        "file": "state_40.pt",
        "weights": "ema",
        "epoch": 40,
        "assumed": {
            "family": "Gym",
            "denoising_steps": 20,
            "activation": "ReLU",
            "min_sampling_denoising_std": 0.1,
        },
    }


def test_the_averaged_weights_of_pre_training_are_the_policy():
    path = CKPT / "pretrain_ddpm8.pt"
    policy = import_official(path, action_dim=3, denoising_steps=8, activation="ReLU")
    ema, last = model(path, "ema"), model(path)
    actor = policy.component("actor")
    assert {f"network.{k}" for k in actor} == set(ema)
    assert all(torch.equal(v, ema[f"network.{k}"]) for k, v in actor.items())
    assert any(not torch.equal(v, last[f"network.{k}"]) for k, v in actor.items())
    assert policy.config.ft_denoising_steps == 0


def test_base_fine_tuned_actor_and_critic_are_imported():
    policy = import_official(CKPT / "ddpm8_ft4.pt", **FINE_TUNED)
    source = model(CKPT / "ddpm8_ft4.pt")
    expected = {k: v for k, v in source.items() if not k.startswith("network.")}
    assert set(policy.weights) == set(expected)
    assert all(torch.equal(policy.weights[k], v) for k, v in expected.items())
    assert policy.config.ft_denoising_steps == 4
    critic = build_dataclass(CriticConfig, policy.critic)
    assert critic == CriticConfig((16, 16, 16), "Mish", residual=True, use_layernorm=False)
    Critic(critic, ObservationSpec(5)).load_state_dict(policy.component("critic"))


@pytest.mark.parametrize(
    ("name", "mode", "arguments"),
    [
        ("ddpm8_ft4", "sto", {}),
        ("ddpm8_ft4", "det", {}),
        ("ddpm8_ft8", "sto", {"ft_denoising_steps": 8}),
        ("ddpm20_ft10", "sto", {"denoising_steps": 20, "ft_denoising_steps": 10}),
        ("ddpm8_ft4_x0", "sto", {"predict_epsilon": False}),
        (
            "ddpm8_ft4_noclip",
            "sto",
            {"denoising": {"denoised_clip_value": None, "final_action_clip_value": 1.0}},
        ),
        (
            "ddim100_5_ft5",
            "sto",
            {"denoising_steps": 100, "ddim_steps": 5, "ft_denoising_steps": 5},
        ),
        (
            "ddim100_5_ft3_eta.5_epsclip",
            "sto",
            {
                "denoising_steps": 100,
                "ddim_steps": 5,
                "ft_denoising_steps": 3,
                "denoising": {"eps_clip_value": 1.0},
            },
        ),
    ],
)
def test_imported_policy_samples_what_the_authors_code_samples(
    golden: Any, name: str, mode: str, arguments: dict[str, Any]
):
    policy = import_official(CKPT / f"{name}.pt", **(FINE_TUNED | arguments)).build()
    chain = policy.sample(
        {"state": torch.from_numpy(golden["diff/obs"])},
        noise=torch.from_numpy(golden[f"diff/{name}/{mode}/noise"]),
        deterministic=mode == "det",
    )
    expected = golden[f"diff/{name}/{mode}/trajectories"]
    np.testing.assert_allclose(chain.chunk.numpy(), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    ("name", "eta"), [("ddim100_5_ft5", 1.0), ("ddim100_5_ft3_eta.5_epsclip", 0.5)]
)
def test_the_constant_noise_level_of_ddim_is_read_from_its_logit(name: str, eta: float):
    ddim = {"denoising_steps": 100, "ddim_steps": 5, "ft_denoising_steps": 3}
    policy = import_official(CKPT / f"{name}.pt", **(FINE_TUNED | ddim))
    assert policy.config.denoising.eta == eta


@pytest.mark.parametrize(
    "network",
    [
        DiffusionMLPConfig((32, 32, 32), time_dim=8, use_layernorm=True),
        DiffusionMLPConfig((32,), time_dim=8),
        DiffusionMLPConfig((48, 32), 8, "Mish", residual=False, use_layernorm=True),
        DiffusionMLPConfig((40, 24), 4, "ELU", residual=False),
        DiffusionMLPConfig((64,) * 7, 32, "Mish", use_layernorm=True, cond_mlp_dims=(16, 6)),
    ],
)
def test_architecture_is_read_off_the_weights(tmp_path: Path, network: DiffusionMLPConfig):
    config = DiffusionPolicyConfig(
        obs_dim=5, action_dim=3, cond_steps=2, horizon_steps=4, act_steps=2, network=network
    )
    policy = import_official(
        write_pretrained(tmp_path / "state_1.pt", config),
        normalization=normalization(5, 3),
        cond_steps=2,
        act_steps=2,
        denoising_steps=20,
        activation=network.activation,
    )
    assert policy.config == config


@pytest.mark.parametrize(
    ("dims", "activation", "denoising_steps", "ddim_steps", "floor"),
    [
        ((17, 6, 4), "ReLU", 20, None, 0.1),
        ((4, 2, 4), "ReLU", 20, None, 0.1),
        ((60, 9, 4), "Mish", 20, None, 0.1),
        ((23, 7, 1), "Mish", 20, None, 0.1),
        ((58, 10, 8), "Mish", 100, 5, 0.04),
    ],
)
def test_what_weights_cannot_tell_is_the_authors_value_for_the_task(
    tmp_path: Path,
    dims: tuple[int, int, int],
    activation: str,
    denoising_steps: int,
    ddim_steps: int | None,
    floor: float,
):
    obs_dim, action_dim, horizon = dims
    config = DiffusionPolicyConfig(obs_dim, action_dim, horizon_steps=horizon, act_steps=1)
    path = write_pretrained(tmp_path / "state_1.pt", config)
    policy = import_official(path, normalization=normalization(obs_dim, action_dim)).config
    assert policy.network.activation == activation
    assert policy.denoising.denoising_steps == denoising_steps
    assert policy.denoising.ddim_steps == ddim_steps
    assert policy.min_sampling_denoising_std == floor
    assert policy.act_steps == horizon


def test_given_denoising_steps_without_ddim_steps_are_ddpm_whatever_the_task(tmp_path: Path):
    config = DiffusionPolicyConfig(58, 10, horizon_steps=8, act_steps=8)
    path = write_pretrained(tmp_path / "state_1.pt", config)
    policy = import_official(path, action_dim=10, denoising_steps=100)
    assert policy.config.denoising.ddim_steps is None


def test_schedule_buffers_tell_the_number_of_steps(altered: Any):
    from dppo_rllib.denoising.schedules import cosine_schedule

    def add_buffers(content: dict[str, Any]) -> None:
        schedule = cosine_schedule(8)
        buffers = {"betas": schedule.betas, "alphas_cumprod": schedule.alphas_cumprod}
        content["ema"] |= buffers

    path = altered(CKPT / "pretrain_ddpm8.pt", add_buffers)
    policy = import_official(path, action_dim=3, activation="ReLU")
    assert policy.config.denoising.denoising_steps == 8
    with pytest.raises(ValueError, match="denoising_steps=20: .* was made with 8"):
        import_official(path, action_dim=3, activation="ReLU", denoising_steps=20)


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        (HOPPER, {"normalization": HOPPER_NORMALIZATION, "task": "hopper", "env": "Hopper-v5"}),
        (CKPT / "ddpm8_ft4.pt", FINE_TUNED),
    ],
)
def test_imported_policy_survives_saving_and_loading_bit_for_bit(
    tmp_path: Path, path: Path, arguments: dict[str, Any]
):
    policy = import_official(path, **arguments)
    loaded = load_policy(save_policy(policy, tmp_path / "policy"))
    assert loaded.config == policy.config
    assert loaded.normalization == policy.normalization
    assert (loaded.task, loaded.env) == (policy.task, policy.env)
    assert loaded.provenance == policy.provenance
    assert set(loaded.weights) == set(policy.weights)
    assert all(torch.equal(loaded.weights[k], v) for k, v in policy.weights.items())


def test_environment_may_be_an_id_or_complete():
    env = {"id": "Hopper-v5", "config": {}, "max_episode_steps": None}
    for given in ("Hopper-v5", env):
        policy = import_official(HOPPER, normalization=HOPPER_NORMALIZATION, env=given)
        assert policy.env == env
    with pytest.raises(ValueError, match=r"env: keys \['id'\], expected"):
        import_official(HOPPER, normalization=HOPPER_NORMALIZATION, env={"id": "Hopper-v5"})


# --- What is refused ---------------------------------------------------------------------------


def test_missing_file_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere.pt: no such file"):
        import_official(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken", b"\x80\x02}."])
def test_other_files_are_an_error(tmp_path: Path, content: bytes):
    path = tmp_path / "state_1.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"state_1\.pt: "):
        import_official(path)


class Harmful:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_python_objects_in_a_file_are_refused_and_never_run(altered: Any, tmp_path: Path):
    marker = tmp_path / "was_run"
    path = altered(HOPPER, lambda content: content.update(model=Harmful(marker)))
    with pytest.raises(ValueError, match="not a torch checkpoint of tensors and numbers only"):
        import_official(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("ema"), r"holds \['epoch', 'model'\], expected \['ema', 'epoch', 'model'"),
        (lambda c: c.update(optimizer={}), "holds .*'optimizer'"),
        (lambda c: c.update(ema=[]), "ema is a list, expected a state dict"),
        (lambda c: c["ema"].update(step=3), "'step' is a int, expected a tensor"),
        (lambda c: c["ema"].clear(), r"missing keys network\.\*"),
    ],
)
def test_other_contents_are_an_error(altered: Any, change: Change, message: str):
    with pytest.raises(ValueError, match=message):
        import_official(altered(HOPPER, change), normalization=HOPPER_NORMALIZATION)


@pytest.mark.parametrize(
    "key",
    [
        "network.time_embedding.1.weight",
        "network.time_embedding.3.bias",
        "network.mlp_mean.layers.0.weight",
        "network.mlp_mean.layers.1.l2.bias",
        "network.mlp_mean.layers.2.weight",
    ],
)
def test_missing_weight_of_a_denoiser_is_named(altered: Any, key: str):
    path = altered(HOPPER, lambda content: content["ema"].pop(key))
    with pytest.raises(ValueError, match=f"missing keys?.*{key}"):
        import_official(path, normalization=HOPPER_NORMALIZATION)


@pytest.mark.parametrize(
    "key",
    ["actor.mlp_mean.layers.0.bias", "actor_ft.time_embedding.1.bias", "critic.Q1.layers.2.bias"],
)
def test_missing_weight_of_a_fine_tuned_part_is_named(altered: Any, key: str):
    path = altered(CKPT / "ddpm8_ft4.pt", lambda content: content["model"].pop(key))
    with pytest.raises(ValueError, match=f"missing keys?.*{key}"):
        import_official(path, **FINE_TUNED)


@pytest.mark.parametrize(
    "key",
    ["stray", "actor_ft.stray", "network.mlp_mean.stray", "network.mlp_mean.layers.1.l3.bias"],
)
def test_unknown_weight_is_named(altered: Any, key: str):
    path = altered(HOPPER, lambda content: content["ema"].update({key: torch.zeros(1)}))
    with pytest.raises(ValueError, match=f"unknown keys?.*{key}"):
        import_official(path, normalization=HOPPER_NORMALIZATION)


def test_unknown_weight_of_the_critic_is_named(altered: Any):
    change = {"critic.Q1.stray": torch.zeros(1)}
    path = altered(CKPT / "ddpm8_ft4.pt", lambda content: content["model"].update(change))
    with pytest.raises(ValueError, match=r"unknown keys \['critic.Q1.stray'\]"):
        import_official(path, **FINE_TUNED)


@pytest.mark.parametrize("part", ["actor", "actor_ft", "critic"])
def test_missing_part_is_named(altered: Any, part: str):
    def remove(content: dict[str, Any]) -> None:
        for key in [key for key in content["model"] if key.startswith(f"{part}.")]:
            del content["model"][key]

    with pytest.raises(ValueError, match=rf"missing keys {part}\.\*"):
        import_official(altered(CKPT / "ddpm8_ft4.pt", remove), **FINE_TUNED)


def test_misshapen_and_mistyped_weights_are_named(altered: Any):
    key = "network.mlp_mean.layers.1.l1.bias"
    for value in (torch.zeros(7), torch.zeros(512, dtype=torch.float64)):
        path = altered(HOPPER, lambda content, value=value: content["ema"].update({key: value}))
        with pytest.raises(ValueError, match=rf"{key} is .* expected \(512,\) torch.float32"):
            import_official(path, normalization=HOPPER_NORMALIZATION)


def test_weights_that_are_not_numbers_are_named(altered: Any):
    key = "network.mlp_mean.layers.1.l1.bias"
    path = altered(HOPPER, lambda content: content["ema"][key].fill_(float("nan")))
    with pytest.raises(ValueError, match=f"{key} holds NaN or infinity"):
        import_official(path, normalization=HOPPER_NORMALIZATION)


def test_base_network_must_be_the_same_under_both_names(altered: Any):
    path = altered(
        CKPT / "ddpm8_ft4.pt",
        lambda content: content["model"].update({"actor.mlp_mean.layers.2.bias": torch.ones(12)}),
    )
    with pytest.raises(ValueError, match="actor.mlp_mean.layers.2.bias differs from network"):
        import_official(path, **FINE_TUNED)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("critic.Q2.layers.0.weight", "critic.Q2.* belongs to an off-policy algorithm, which is"),
        ("target_q.layers.0.weight", "target_q.* belongs to an off-policy algorithm, which is not"),
        ("network.logvar_min", "keys of several kinds of policies: .*'network.logvar_min'"),
        ("network.mlp_weights.x", "keys of several kinds of policies: .*'network.mlp_weights.x'"),
        ("network.time_mlp.1.weight", "keys of a U-Net .* and of an MLP"),
        ("network.down_modules.0.x", r"unknown keys \['network.down_modules.0.x'\]"),
        ("network.backbone.x", "missing key network.backbone.vit.pos_embed"),
        ("network.compress2.weight", "missing key network.backbone.vit.pos_embed"),
    ],
)
def test_weights_of_another_architecture_are_named(altered: Any, key: str, message: str):
    path = altered(HOPPER, lambda content: content["ema"].update({key: torch.zeros(1)}))
    with pytest.raises(ValueError, match=message):
        import_official(path, normalization=HOPPER_NORMALIZATION)


def test_sampler_must_be_the_one_that_was_fine_tuned():
    with pytest.raises(ValueError, match="ddim_steps=None: .* fine-tuned with DDIM"):
        import_official(CKPT / "ddim100_5_ft5.pt", **FINE_TUNED)
    with pytest.raises(ValueError, match="ddim_steps=4: .* fine-tuned with DDPM"):
        import_official(CKPT / "ddpm8_ft4.pt", **FINE_TUNED, ddim_steps=4)


@pytest.mark.parametrize("name", ["denoising_steps", "activation", "ft_denoising_steps"])
def test_value_that_nothing_tells_must_be_passed(name: str):
    with pytest.raises(ValueError, match=rf"{name}.*pass {name}=\.\.\."):
        import_official(CKPT / "ddpm8_ft4.pt", **(FINE_TUNED | {name: None}))


def test_the_normalization_of_furniture_bench_is_a_state_dict(tmp_path):
    given = Normalization.from_npz(HOPPER_NORMALIZATION)
    ends = given.to_dict()
    stats = {
        f"stats.{long}.{end}": torch.tensor(ends[f"{short}_{end}"])
        for short, long in (("obs", "observations"), ("action", "actions"))
        for end in ("min", "max")
    }
    torch.save(stats, tmp_path / "normalization.pth")
    policy = import_official(HOPPER, normalization=tmp_path / "normalization.pth")
    assert policy.normalization == given


def test_action_dimension_needs_a_normalization_or_an_argument():
    with pytest.raises(ValueError, match=r"chunks have 12 numbers; pass normalization=\.\.\."):
        import_official(HOPPER)


def test_fine_tuned_steps_of_a_pre_trained_policy_are_an_error():
    with pytest.raises(ValueError, match="ft_denoising_steps=10: .* only pre-trained"):
        import_official(HOPPER, normalization=HOPPER_NORMALIZATION, ft_denoising_steps=10)


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        ((11, 5), {}, "action_dim=5: expected a divisor of 12"),
        ((10, 3), {}, "obs_min has 10 entries, .* observations have 11 .* another task's"),
        ((1, 3), {}, "obs_min has 1 entries, .*pass cond_steps=11"),
        ((11, 3), {"cond_steps": 2}, "cond_steps=2: expected a divisor of 11"),
        ((11, 3), {"cond_steps": 0}, "cond_steps=0: expected a divisor of 11"),
        ((11, 3), {"action_dim": 4}, "action_dim=4: normalization has 3 actions"),
        ((11, 3), {"act_steps": 5}, "act_steps=5: .* horizon_steps=4"),
        ((11, 3), {"activation": "Sine"}, "activation='Sine': expected one of"),
        ((11, 3), {"denoising": {"etta": 1}}, "DenoisingConfig.etta: unknown field"),
        ((11, 3), {"denoising": {"ddim_steps": 5}}, r"denoising: holds \['ddim_steps'\]"),
    ],
)
def test_contradictory_argument_is_an_error(
    given: tuple[int, int], arguments: dict[str, Any], message: str
):
    with pytest.raises(ValueError, match=message):
        import_official(HOPPER, normalization=normalization(*given), **arguments)


def test_missing_normalization_file_is_an_error(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="nowhere.npz"):
        import_official(HOPPER, normalization=tmp_path / "nowhere.npz")


# --- How it acts -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hopper() -> PolicyCheckpoint:
    return import_official(HOPPER, normalization=HOPPER_NORMALIZATION, env="Hopper-v5")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("deterministic", "mean", "deviation"), [(True, 1945, 769), (False, 1286, 419)]
)
def test_hopper_policy_returns_what_it_does_in_the_authors_code(
    hopper: PolicyCheckpoint, deterministic: bool, mean: float, deviation: float
):
    pytest.importorskip("mujoco")
    episodes = 40
    env = make_chunked_env(
        "Hopper-v5", episodes, act_steps=4, cond_steps=1, normalization=hopper.normalization
    )
    act = policy_act(hopper.build(), deterministic=deterministic, seed=0)
    results = run_episodes(env, act, episodes, seed=0).summary()
    env.close()
    # Both means are of 40 episodes: three standard errors of their difference.
    error = np.hypot(deviation, results["return_std"]) / np.sqrt(episodes)
    print(f"deterministic={deterministic}: {results}")
    assert abs(results["return_mean"] - mean) <= 3 * error
