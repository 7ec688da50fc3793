"""`dppo import-official` on a real checkpoint of the authors' code."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.cli import app

OFFICIAL = Path(__file__).parents[1] / "golden" / "official_checkpoint"


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


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_text("nothing")
    code, output = call(str(tmp_path / "state.pt"), "--output", str(tmp_path / "policy"))
    assert code == 2
    assert "state.pt" in output.replace("\n", "")
    assert not (tmp_path / "policy").exists()
