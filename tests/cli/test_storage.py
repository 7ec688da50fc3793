"""Runs whose files are in an object store: a real S3 server, on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dppo_rllib.checkpoints import StoragePath, find_policy, load_policy

SMALL = ["--runners", 0, "--learners", 0, "--episodes", 4, "--no-video"]


def words(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.fixture(scope="module")
def run(dppo: Any, reach_policy: Path, s3: str) -> tuple[StoragePath, str]:
    output = f"s3://runs/a%20run?{s3}"
    result = dppo("finetune", "reach", "--from", reach_policy, *SMALL, "--output", output)
    assert result.exit_code == 0, result.output
    return StoragePath.of(output), result.output


def test_all_files_of_a_run_are_in_the_bucket_and_none_of_its_own_stay_here(
    run: tuple[StoragePath, str],
) -> None:
    path, text = run
    assert text.count("s3://runs/a%20run/policy") == 1
    assert len((path / "metrics.csv").read_bytes().splitlines()) == 3
    assert json.loads((path / "summary.json").read_bytes())["iterations"] == 2
    assert (path / "learning_curve.png").read_bytes().startswith(b"\x89PNG")
    assert (path / "trial" / "progress.csv").is_file()
    assert any("tfevents" in file.name for file in (path / "trial").files())


def test_its_policy_and_its_newest_checkpoint_are_read_from_there(
    run: tuple[StoragePath, str],
) -> None:
    path, _ = run
    assert find_policy(path) == path / "policy"
    newest = find_policy(path / "trial")
    assert str(newest).startswith("s3://runs/a%20run/trial/checkpoint_000001/policy?")
    tuned = load_policy(path).component("actor_ft")
    assert all((load_policy(newest).component("actor_ft")[k] == v).all() for k, v in tuned.items())


def test_evaluating_it_there_gives_the_numbers_of_the_run(
    run: tuple[StoragePath, str], dppo: Any, tmp_path: Path
) -> None:
    path, _ = run
    result = dppo("eval", path, "--episodes", 4, "--json", tmp_path / "e.json")
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "e.json").read_text())
    after = json.loads((path / "summary.json").read_bytes())["after"]
    assert found["stochastic"] == after["stochastic"]


def test_half_of_a_checkpoint_is_not_taken_for_one(run: tuple[StoragePath, str]) -> None:
    trial = run[0] / "trial"
    for name in ("rllib_checkpoint.json", "policy/policy.safetensors"):  # as a kill leaves it
        with trial.filesystem.open_output_stream(f"{trial.path}/checkpoint_000002/{name}") as file:
            file.write(b"1")
    assert "checkpoint_000001" in str(find_policy(trial))
    trial.filesystem.delete_dir(f"{trial.path}/checkpoint_000002")


@pytest.mark.parametrize(
    ("command", "address", "message"),
    [
        ("--output", "s3://none/run?{s3}", "no bucket none; create it first"),
        ("--output", "s3://runs?{s3}", "expected a folder within the bucket"),
        ("--output", "s3://runs/a%20run?{s3}", "exists already"),
        ("--output", "ftp://runs/run", "Unrecognized filesystem type in URI"),
        ("--output", "s3://key:secret@runs/run?{s3}", "expected them in the environment"),
        ("--from", "s3://runs/none?{s3}", "no such directory"),
        ("--resume", "s3://runs/none?{s3}", "output directory of an earlier run"),
    ],
)
def test_storage_that_cannot_be_used_is_refused_before_any_work(
    run: Any, dppo: Any, reach_policy: Path, s3: str, command: str, address: str, message: str
) -> None:
    arguments = [command, address.format(s3=s3)]
    if command != "--resume":
        arguments = ["reach", *arguments]
    if command == "--output":
        arguments += ["--from", reach_policy]
    result = dppo("finetune", *arguments)
    assert result.exit_code == 2, result.output
    assert message in words(result.stderr)
    assert "secret" not in result.stderr


def test_wrong_keys_are_refused_before_any_work(dppo: Any, reach_policy: Path, s3: str) -> None:
    """The server checks signatures for as long as this test lasts."""
    endpoint = s3.rpartition("=")[2]

    def check_after(requests: bytes) -> None:
        url = f"http://{endpoint}/moto-api/reset-auth"
        headers = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(url, requests, headers)).close()

    check_after(b"0")
    try:
        output = ["--output", f"s3://runs/new?{s3}"]
        result = dppo("finetune", "reach", "--from", reach_policy, *output)
    finally:
        check_after(b"inf")
    assert result.exit_code == 2, result.output
    assert "--output s3://runs/new" in words(result.stderr)
    assert "cannot be reached" in words(result.stderr)


def test_a_file_uri_is_a_local_path(tmp_path: Path) -> None:
    path = StoragePath.of(f"file://{tmp_path}/a%20run")
    assert path == StoragePath.of(tmp_path / "a run")
    assert path.local == tmp_path / "a run"


@pytest.mark.slow
@pytest.mark.parametrize("remote", [True, False])
def test_a_killed_run_goes_on_elsewhere_where_its_newest_checkpoint_ends(
    tasks_file: Path, reach_policy: Path, s3: str, tmp_path: Path, remote: bool
) -> None:
    output = f"s3://runs/killed?{s3}" if remote else str(tmp_path / "run")
    start = tmp_path / "start"
    start.symlink_to(reach_policy)
    dppo = [sys.executable, "-c", "from dppo_rllib.cli.app import app; app()"]
    dppo += ["--tasks-from", str(tasks_file)]
    options = [*map(str, SMALL), "--iterations", "7", "--set", "rollout_fragment_length=100"]
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [*dppo, "finetune", "reach", "--from", str(start), *options, "--output", output],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 200
        while "iteration 3/7" not in log.read_text() and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)  # Ray's processes too
        process.wait()
        time.sleep(10)  # those that have a session of their own notice, and end
    checkpoints = (StoragePath.of(output) / "trial").folders()
    whole = [c for c in checkpoints if (c / "policy" / "policy.json").is_file()]
    done = int(whole[-1].name[-6:]) + 1
    assert done >= 2
    if remote:
        start.unlink()
    again = subprocess.run(
        [*dppo, "finetune", "--resume", output], capture_output=True, text=True, cwd=tmp_path
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"iteration {done + 1}/7" in again.stdout
    assert f"iteration {done}/7" not in again.stdout
    summary = json.loads((StoragePath.of(output) / "summary.json").read_bytes())
    assert summary["iterations"] == 7
