"""The examples do what they say, in small."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.cli import app
from dppo_rllib.datasets import read_demonstrations

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.slow
def test_a_task_of_ones_own_goes_from_nothing_to_a_fine_tuned_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dppo(*arguments: str) -> str:
        result = CliRunner().invoke(
            app, ["--tasks-from", str(EXAMPLES / "own_task.py"), *arguments]
        )
        assert result.exit_code == 0, result.output
        return result.output

    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "own_task.py"), run_name="__main__")
    demos = read_demonstrations(tmp_path / "slide-demonstrations")
    assert demos.num_episodes == 200
    assert "slide" in dppo("tasks")
    common = ["--episodes", "4", "--learners", "0", "--no-video"]
    dppo("pretrain", "slide", "--epochs", "1", *common, "--output", "slide-policy")
    start = ["--from", "slide-policy", "--iterations", "1", "--runners", "0"]
    dppo("finetune", "slide", *start, *common, "--output", "run")
    assert load_policy(tmp_path / "run" / "policy").task == "slide"


@pytest.mark.slow
def test_fine_tuning_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    runpy.run_path(str(EXAMPLES / "finetune.py"), run_name="__main__")
    policy = capsys.readouterr().out.split("policy:")[-1].strip()
    assert load_policy(policy).config.ft_denoising_steps == 10
