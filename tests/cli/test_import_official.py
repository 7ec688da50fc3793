"""`dppo import-official` on a real checkpoint of the authors' code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.cli import app

OFFICIAL = Path(__file__).parents[1] / "golden" / "official_checkpoint"
CKPT = Path(__file__).parents[1] / "golden" / "ckpt"


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["import-official", *arguments])
    return result.exit_code, result.output


def test_an_official_checkpoint_becomes_a_policy_of_its_task(tmp_path: Path) -> None:
    code, output = call(
        str(OFFICIAL / "state_40.pt"),
        *("--normalization", str(OFFICIAL / "normalization.npz")),
        *("--task", "hopper-medium", "--output", str(tmp_path / "policy")),
    )
    assert code == 0, output
    policy = load_policy(tmp_path / "policy")
    assert (policy.config.obs_dim, policy.config.action_dim, policy.task) == (
        11,
        3,
        "hopper-medium",
    )
    assert policy.env is not None and policy.env["id"] == "Hopper-v5"
    assert "DDPM, 20 steps" in output
    assert "the same in the authors' configurations of Gym" in output
    assert "activation = ReLU" in output


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_text("nothing")
    code, output = call(str(tmp_path / "state.pt"), "--output", str(tmp_path / "policy"))
    assert code == 2
    assert "state.pt" in re.sub(r"[│\s]", "", output)
    assert not (tmp_path / "policy").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "shown"),
    [
        (
            "gauss_const",
            ["--activation", "Mish", "--set", "network.fixed_std=0.1"],
            ["gaussian, fine-tuned", "randn_clip_value", "tanh_output = True"],
        ),
        ("gmm_fixedstd", ["--activation", "Mish"], ["gmm, fine-tuned", "network.num_modes"]),
        (
            "ddim20_5_ft2_etaaction",
            [
                *("--denoising-steps", "20", "--ddim-steps", "5", "--ft-denoising-steps", "2"),
                *("--activation", "ReLU", "--set", "min_sampling_denoising_std=0.05"),
                *("--set", "learned_eta.min_eta=0.01", "--set", "denoising.eps_clip_value=2"),
            ],
            ["DDIM, 5 of 20 steps", "learned (action)", "learned_eta.max_eta = 1.0"],
        ),
    ],
)
def test_every_kind_of_policy_is_imported_and_shown(
    tmp_path: Path, name: str, arguments: list[str], shown: list[str]
) -> None:
    output = str(tmp_path / "policy")
    code, text = call(str(CKPT / f"{name}.pt"), "--action-dim", "3", "--output", output, *arguments)
    assert code == 0, text
    for words in shown:
        assert words in text
    config = load_policy(output).config
    if name.startswith("ddim"):
        assert config.min_sampling_denoising_std == 0.05
        assert config.denoising.eps_clip_value == 2
        assert config.learned_eta.min_eta == 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "network.fixed_std: not told by the weights"),
        (["--set", "network.fixed_std"], "--set network.fixed_std: expected key=value"),
        (["--set", "fixed_std=0.1"], "--set fixed_std: expected one of ['critic_activation'"),
        (["--set", "task.x=1"], "--set task.x: expected one of"),
        (["--set", "denoising_steps=20"], "other arguments have an option of their own"),
        (["--image-size", "48", "48"], "image_size=(48, 48): the network in"),
    ],
)
def test_what_is_missing_or_does_not_fit_is_said(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    fixed = ("--action-dim", "3", "--activation", "Mish", "--output", str(tmp_path / "policy"))
    code, output = call(str(CKPT / "gauss_const.pt"), *fixed, *arguments)
    assert code == 2
    assert message in " ".join(line.strip("│ ") for line in output.splitlines())
    assert not (tmp_path / "policy").exists()
