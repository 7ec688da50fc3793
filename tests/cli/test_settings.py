from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dppo_rllib import DPPOConfig
from dppo_rllib.algorithms.apply_settings import apply_settings
from dppo_rllib.cli.settings import parse_settings, parse_value
from dppo_rllib.networks import UNet1DConfig, VisionConfig


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e-4", 1e-4),
        ("true", True),
        ("True", True),
        ("null", None),
        ("None", None),
        ("[256,256]", [256, 256]),
        ("(1, 2)", (1, 2)),
        ("Mish", "Mish"),
        ("'7'", "7"),
    ],
)
def test_values_are_json_or_python_or_text(text: str, value: Any) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize("texts", [["gamma"], ["=1"], ["gamma=1", "gamma=2"]])
def test_what_is_no_assignment_or_comes_twice_is_refused(texts: list[str]) -> None:
    with pytest.raises(ValueError, match="--set"):
        parse_settings(texts)


def test_an_equals_sign_may_be_part_of_a_value() -> None:
    assert parse_settings(["task=a=b"]) == {"task": "a=b"}


def test_settings_reach_the_configuration_and_into_its_dictionaries() -> None:
    config = DPPOConfig()
    dims = {"network.mlp_dims": [8, 8], "network.time_dim": 4, "env_config.size": 3}
    apply_settings(config, {"clip_param": 0.2, "target_kl": None, **dims})
    assert (config.clip_param, config.target_kl) == (0.2, None)
    assert config.network["mlp_dims"] == [8, 8]
    assert config.network["time_dim"] == 4
    assert config.network["activation"] == "ReLU"
    assert config.env_config == {"size": 3}


def test_parts_of_what_was_not_given_start_from_its_defaults() -> None:
    config = DPPOConfig()
    parts = {"vision.depth": 2, "learned_eta.kind": "state", "critic.residual": False}
    apply_settings(config, {"network.cond_mlp_dims": [8], **parts})
    assert config.network["cond_mlp_dims"] == [8]
    assert config.vision is not None and config.vision["depth"] == 2
    assert config.vision["embed_dim"] == VisionConfig().embed_dim
    assert config.learned_eta is not None and config.learned_eta["kind"] == "state"
    assert config.critic["residual"] is False


def test_a_type_of_network_comes_before_its_fields() -> None:
    config = DPPOConfig()
    apply_settings(config, {"network.dim": 32, "network.n_groups": None, "network.type": "unet"})
    assert config.network == {"type": "unet", **asdict(UNet1DConfig(dim=32, n_groups=None))}


def test_parts_come_on_top_of_the_whole_in_any_order() -> None:
    config = DPPOConfig()
    apply_settings(config, {"network.time_dim": 8, "network": {"mlp_dims": [8]}})
    assert (config.network["mlp_dims"], config.network["time_dim"]) == ([8], 8)


def test_a_schedule_may_be_a_number_or_a_list() -> None:
    config = DPPOConfig()
    apply_settings(config, {"ft_denoising_steps": [[0, 10], [100, 5]]})
    assert config.ft_denoising_steps == [[0, 10], [100, 5]]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("clip_parm", 1, "clip_param"),
        ("network.mlp_dim", [8], "mlp_dims"),
        ("gamma.x", 1, "not a dictionary"),
        ("clip_param", "much", "expected float"),
        ("clip_param", True, "expected float"),
        ("clip_param", None, "expected float"),
        ("horizon_steps", 2.5, "expected int"),
        ("reward_scale_running", 1, "expected bool"),
        ("num_epochs", "five", "expected"),
        ("network", [1], "dictionary"),
        ("network.mlp_dims", 8, "network.mlp_dims=8: expected a list of int"),
        ("network.mlp_dims", [8, "x"], "expected a list of int"),
        ("network.mlp_dims.0", 8, "not a dictionary"),
        ("network.type", "gmm", "network.type='gmm': expected one of"),
        ("vision.embed_dim", None, "vision.embed_dim=None: expected int"),
        ("vision.width", 8, "vision.width: unknown"),
        ("critic.residual", 1, "critic.residual=1: expected bool"),
        ("_anything", 1, "internal"),
        ("lambda", 0.9, "lambda_"),
    ],
)
def test_unknown_keys_and_wrong_types_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        apply_settings(DPPOConfig(), {key: value})


def test_a_history_goes_on_after_a_restart_and_drops_what_is_done_anew(tmp_path: Path) -> None:
    from dppo_rllib.cli.history import FINETUNE_COLUMNS, History

    def result(iteration: int, steps: int) -> dict[str, Any]:
        return {
            "training_iteration": iteration,
            "time_this_iter_s": 2.0,
            "env_runners": {"num_env_steps_sampled_lifetime": steps},
            "learners": {"default_policy": {"seconds_update": 0.5}},
        }

    history = History(tmp_path / "metrics.csv", FINETUNE_COLUMNS)
    for iteration in (1, 2, 3):
        history.add(result(iteration, 100 * iteration))
    again = History(tmp_path / "metrics.csv", FINETUNE_COLUMNS)
    row = again.add(result(2, 220))
    assert again.column("iteration") == [1, 2]
    assert row["env_steps_per_second"] == pytest.approx(60)
    assert (row["seconds_update"], row["seconds_sampling"]) == (0.5, 1.5)


def test_a_history_tells_what_an_iteration_adds_to_a_counter(tmp_path: Path) -> None:
    from dppo_rllib.cli.history import TROUBLES, History

    name, columns = "invalid_episodes", {"iteration": "training_iteration"}
    assert name in TROUBLES
    history = History(tmp_path / "metrics.csv", {**columns, name: "count"})
    growth = []
    for iteration, count in enumerate([None, 3, 3, 7], start=1):
        history.add({"training_iteration": iteration, "count": count})
        growth.append(history.growth(name))
    assert growth == [0, 3, 0, 4]
