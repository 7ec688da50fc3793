"""A whole run in miniature: what it leaves, how it is resumed, and what others do with it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dppo_rllib.checkpoints import load_policy

PNG, MP4 = b"\x89PNG", b"ftyp"


@pytest.fixture(scope="module")
def run(
    dppo: Any, reach_policy: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    output = tmp_path_factory.mktemp("runs") / "reach"
    options = ["--episodes", 4, "--runners", 1, "--output", output]
    settings = ["--set", "ft_denoising_steps=2", "--set", "actor_lr_warmup_steps=1"]
    result = dppo("finetune", "reach", "--from", reach_policy, *options, *settings)
    assert result.exit_code == 0, result.output
    return output, result.output


def test_the_run_says_what_it_does_and_compares_before_with_after(run: tuple[Path, str]) -> None:
    _, text = run
    for expected in (
        "Who runs where",
        "ft_denoising_steps=2",
        "iteration 2/2",
        "before",
        "after",
        "±",
        "Wilson",
    ):
        assert expected in text
    assert "Traceback" not in text
    assert "Search algorithm" not in text


def test_what_can_never_start_is_refused_and_leaves_nothing(
    dppo: Any, reach_policy: Path, tmp_path: Path
) -> None:
    processes = ["--runners", 4, "--learners", 1, "--gpus-per-learner", 64]
    output = ["--output", tmp_path / "run"]
    result = dppo("finetune", "reach", "--from", reach_policy, *processes, *output)
    assert result.exit_code == 2, result.output
    assert "--runners 4 --learners 1: need 64 GPUs" in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


def test_the_run_leaves_policy_metrics_curve_videos_and_summary(run: tuple[Path, str]) -> None:
    output, text = run
    assert load_policy(output / "policy").config.ft_denoising_steps == 2
    assert len((output / "metrics.csv").read_text().splitlines()) == 3
    assert (output / "trial" / "progress.csv").is_file()
    assert list((output / "trial").glob("events.out.tfevents.*"))
    assert list((output / "trial").glob("checkpoint_*/policy/policy.json"))
    assert (output / "learning_curve.png").read_bytes().startswith(PNG)
    for name in ("before.mp4", "after.mp4"):
        assert MP4 in (output / name).read_bytes()[:16]
        assert f"{name}: episode 0, return -" in text and "does not repeat" not in text
    summary = json.loads((output / "summary.json").read_text())
    assert (summary["iterations"], summary["env_steps"]) == (2, 2 * 4 * 4 * 2)
    for when in ("before", "after"):
        for kind in ("deterministic", "stochastic"):
            assert summary[when][kind]["episodes"] == 4
            assert 0 <= summary[when][kind]["success_rate"] <= 1


def test_the_base_policy_stays_and_the_fine_tuned_copy_moves(
    run: tuple[Path, str], reach_policy: Path
) -> None:
    tuned, base = load_policy(run[0] / "policy"), load_policy(reach_policy).component("actor")
    assert all((tuned.component("actor")[k] == v).all() for k, v in base.items())
    assert any((tuned.component("actor_ft")[k] != v).any() for k, v in base.items())


def test_the_result_can_be_evaluated_and_gives_the_same_numbers(
    run: tuple[Path, str], dppo: Any, tmp_path: Path
) -> None:
    output, _ = run
    options = ["--episodes", 4, "--json", tmp_path / "e.json"]
    result = dppo("eval", output, *options)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "e.json").read_text())
    after = json.loads((output / "summary.json").read_text())["after"]
    assert found["deterministic"] == after["deterministic"]
    assert found["stochastic"] == after["stochastic"]


@pytest.mark.parametrize("option", [["--iterations", 9], ["--set", "gamma=0.9"], ["--seed", 3]])
def test_a_run_cannot_be_resumed_with_other_settings(
    run: tuple[Path, str], dppo: Any, option: list[Any]
) -> None:
    result = dppo("finetune", "--resume", run[0], *option)
    assert result.exit_code == 2
    assert "takes everything from that run" in " ".join(result.stderr.split())


def test_a_run_is_resumed_only_by_its_own_command(run: tuple[Path, str], dppo: Any) -> None:
    result = dppo("pretrain", "--resume", run[0])
    assert result.exit_code == 2
    assert "dppo finetune" in result.stderr


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "run.json").write_text("{"), "run.json: damaged or of"),
        (
            lambda run: (run / "run.json").write_text('{"command": "finetune"}'),
            "version .fields",
        ),
        (lambda run: (run / "tuner.pkl").unlink(), "it stopped before training began"),
    ],
)
def test_what_cannot_be_resumed_is_refused_at_once(
    run: tuple[Path, str], dppo: Any, tmp_path: Path, damage: Any, message: str
) -> None:
    for name in ("run.json", "tuner.pkl"):
        shutil.copy(run[0] / name, tmp_path / name)
    damage(tmp_path)
    result = dppo("finetune", "--resume", tmp_path)
    assert result.exit_code == 2
    assert re.search(message, " ".join(result.stderr.replace("│", "").split()))


@pytest.mark.slow
def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_goes_on(
    tasks_file: Path, reach_policy: Path, tmp_path: Path
) -> None:
    output, log = tmp_path / "run", tmp_path / "log"
    dppo = [sys.executable, "-c", "from dppo_rllib.cli import app; app()"]
    dppo += ["--tasks-from", str(tasks_file)]
    start = shutil.copytree(reach_policy, tmp_path / "policy")
    options = ["--from", str(start), "--runners", "1", "--episodes", "4", "--no-video"]
    options += ["--set", "ft_denoising_steps=2", "--set", "rollout_fragment_length=600"]
    options += ["--iterations", "7", "--output", str(output)]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*dppo, "finetune", "reach", *options], stdout=file, stderr=subprocess.STDOUT
        )
        deadline = time.monotonic() + 120
        while "iteration 1/7" not in log.read_text() and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(60) == 130, log.read_text()
    assert "--resume" in log.read_text()
    stopped = len((output / "metrics.csv").read_text().splitlines()) - 1
    assert 1 <= stopped < 7
    assert list((output / "trial").glob("checkpoint_*"))
    # What the run started from may be gone by now, as a job's working directory is.
    shutil.rmtree(start)
    again = subprocess.run(
        [*dppo, "finetune", "--resume", str(output)], capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"iteration {stopped + 1}/7" in again.stdout
    assert f"iteration {stopped}/7" not in again.stdout
    assert json.loads((output / "summary.json").read_text())["iterations"] == 7
