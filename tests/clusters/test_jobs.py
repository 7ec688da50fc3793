"""`ray job submit` from end to end: to a cluster of two nodes on this machine, with a token.

The one who submits has Ray's command line and nothing of this project.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from nod_sweep import SEEDS, sweep_file

from dppo_rllib.checkpoints import load_policy
from dppo_rllib.checkpoints.find import find_policy

ROOT = Path(__file__).parents[2]
PORT = 28_265  # beyond the ports of workers
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
DPPO = [sys.executable, "-m", "dppo_rllib"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
pytest.importorskip("aiohttp_cors", reason="the job server: make test-slow installs it")


class Node:
    """A machine of the cluster: what `ray start` starts, and its end."""

    def __init__(self, *options: str, folder: Path):
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1"]
        self.process = subprocess.Popen(
            [*start, "--disable-usage-stats", *options],
            env={**os.environ, **TOKEN, "RAY_worker_niceness": "0"},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def lose(self) -> None:
        """As if somebody pulled the plug."""
        os.killpg(self.process.pid, signal.SIGKILL)  # Ray's processes share its fate (--block)
        self.process.wait()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """A head and a worker of one CPU each; job server with token authentication."""
    folder = tmp_path_factory.mktemp("cluster")
    head = ["--head", f"--port={PORT + 1}", f"--dashboard-port={PORT}"]
    nodes = [Node(*head, folder=folder)]
    deadline = time.monotonic() + 60
    while not _answers(PORT):
        assert nodes[0].process.poll() is None and time.monotonic() < deadline
        time.sleep(0.5)
    # With a folder of its own, as a second machine has: nodes unpack what a job brings along.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as own:
        worker = [f"--address=127.0.0.1:{PORT + 1}", f"--temp-dir={own}"]
        nodes.append(Node(*worker, folder=folder))
        yield nodes
    for node in reversed(nodes):
        node.lose()
    # Where `ray.init()` would look for a cluster that `ray start` has started.
    Path(tempfile.gettempdir(), "ray", "ray_current_cluster").unlink(missing_ok=True)


def _answers(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def ray_alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with `ray[default]` and nothing else."""
    root = tmp_path_factory.mktemp("submitter")
    venv.create(root, with_pip=True)
    constraints = ["--constraint", ROOT / "constraints.txt"]
    pip = [root / "bin" / "python", "-m", "pip", "install", "--quiet", *constraints]
    subprocess.run([*pip, "ray[default]"], check=True)
    assert not list(root.glob("lib/python*/site-packages/torch"))
    return root / "bin" / "ray"


@pytest.fixture
def submit(cluster: list[Node], ray_alone: Path, tmp_path: Path) -> Callable[..., Any]:
    """Starts `ray job …` as a user would, with the token."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "VIRTUAL"))}
    environment |= TOKEN | {"RAY_ADDRESS": f"http://127.0.0.1:{PORT}", "PYTHONUNBUFFERED": "1"}

    def start(*arguments: Any, **changed: str) -> subprocess.Popen:
        return subprocess.Popen(
            [str(ray_alone), "job", *map(str, arguments)],
            env={**environment, **changed},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def ended(process: subprocess.Popen, code: int | None = 0) -> str:
    output, _ = process.communicate(timeout=600)
    assert code is None or process.returncode == code, output
    return output


def wait_for(found: Callable[[], Any], process: subprocess.Popen, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < deadline and process.poll() is None, ended(process, None)
        time.sleep(0.2)


SMALL = ["--runners", 0, "--learners", 0, "--episodes", 2, "--no-video"]


def finetune(tasks: Path, output: Path) -> list[Any]:
    return [*DPPO, "--tasks-from", tasks, "finetune", "nod", "--algorithm", "GaussianPPO", *SMALL]


def test_a_job_without_the_token_is_refused(submit: Callable[..., Any]) -> None:
    output = ended(submit("list", RAY_AUTH_TOKEN="f" * 64), 1)
    assert re.search("(?i)invalid|unauthenticated|unauthori[sz]ed|forbidden", output), output


def test_a_run_travels_with_its_working_directory_and_leaves_its_policy(
    submit: Callable[..., Any], tmp_path: Path
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    sweep_file(work / "nod.py", SEEDS)
    command = [*finetune(Path("nod.py"), tmp_path), "--iterations", 2, "--output", tmp_path / "run"]
    output = ended(submit("submit", "--working-dir", work, "--", *command))
    assert "succeeded" in output
    assert load_policy(tmp_path / "run" / "policy").config.fine_tuned
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["iterations"] == 2


def test_the_package_itself_can_travel_as_a_module(
    submit: Callable[..., Any], tmp_path: Path
) -> None:
    modules = json.dumps({"py_modules": [str(ROOT / "dppo_rllib")]})
    script = "import dppo_rllib; print('FROM', dppo_rllib.__file__)"
    output = ended(
        submit("submit", "--runtime-env-json", modules, "--", sys.executable, "-c", script)
    )
    assert re.search("FROM .*py_modules_files", output), output
    output = ended(submit("submit", "--runtime-env-json", modules, "--", *DPPO, "tasks"))
    assert "hopper-medium" in output


def test_a_run_that_fails_is_a_job_that_fails(submit: Callable[..., Any]) -> None:
    wrong = [*DPPO, "finetune", "hopper-medium", "--set", "gamma=2"]
    output = ended(submit("submit", "--", *wrong), 1)
    assert "gamma=2: expected a number from 0 to 1" in " ".join(output.split())


def test_a_stopped_job_leaves_a_checkpoint_to_go_on_from(
    submit: Callable[..., Any], tmp_path: Path
) -> None:
    tasks = sweep_file(tmp_path / "nod.py", SEEDS)
    run = tmp_path / "run"
    command = [*finetune(tasks, tmp_path), "--iterations", 200, "--output", run]
    job = submit("submit", "--submission-id", "stopped", "--", *command)
    wait_for(lambda: list(run.glob("trial/checkpoint_*/policy/policy.json")), job)
    ended(submit("stop", "stopped"))
    assert "stopped" in ended(job, None)
    checkpoint = find_policy(run)
    resume = [*DPPO, "--tasks-from", tasks, "finetune", "--resume", run]
    again = submit("submit", "--no-wait", "--submission-id", "again", "--", *resume)
    ended(again)
    newest = lambda: find_policy(run).parent.name > checkpoint.parent.name  # noqa: E731
    waiting = submit("logs", "--follow", "again")
    wait_for(newest, waiting)
    ended(submit("stop", "again"))
    ended(waiting, None)


def test_a_sweep_survives_the_loss_of_a_node(
    submit: Callable[..., Any], cluster: list[Node], tmp_path: Path
) -> None:
    file = sweep_file(tmp_path / "nods.py", SEEDS.replace("iterations=3", "iterations=40"))
    sweep = tmp_path / "results" / "nods"
    command = [*DPPO, "tune", file, "--storage", tmp_path / "results"]
    job = submit("submit", "--", *command)
    # Both nodes are at work: each has the processor of one trial.
    wait_for(lambda: len(list(sweep.glob("trial_*/checkpoint_*/policy"))) >= 2, job)
    cluster.pop().lose()
    output = ended(job)
    assert "nods: the best of 2" in output
    trials = pd.read_csv(sweep / "trials.csv")
    assert len(trials) == 4 and (trials["iterations"] == 40).all() and trials["error"].isna().all()
    assert re.search("(?i)died|failure|failed", output), "no trial was on the node that was lost"
