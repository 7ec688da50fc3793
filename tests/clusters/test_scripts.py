"""The shell scripts of the clusters, run with stand-ins for what they call."""

from __future__ import annotations

import re
import shlex

import pytest
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args
from stubs import ROOT, Stubs, shellcheck

CLUSTERS = ROOT / "clusters"
SCRIPTS = sorted([*CLUSTERS.rglob("*.sh"), *CLUSTERS.rglob("*.sbatch")])
START = CLUSTERS / "start_or_resume.sh"


@pytest.fixture
def stubs(tmp_path) -> Stubs:
    return Stubs(tmp_path / "bin")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
    text = path.read_text()
    assert text.startswith("#!/usr/bin/env bash\n") and "\nset -euo pipefail\n" in text
    shellcheck(text, name=path.name)


@pytest.mark.parametrize("readme", ["clusters/README.md", "docker/README.md"])
def test_commands_of_the_readme_are_sound(readme):
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / readme).read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        shellcheck(block, name=readme)
        for path in re.findall(r"\b(?:clusters|docker)/[\w./-]+", block):
            assert (ROOT / path).exists(), path


def test_a_run_starts_once_and_is_resumed_then(tmp_path, stubs):
    output = tmp_path / "run"
    stubs.add("dppo", script=f"mkdir -p {output}; touch {output}/run.json")
    assert stubs.run(START, output, "hopper-medium", "--runners", "8").returncode == 0
    assert stubs.calls == [
        ["dppo", "finetune", "hopper-medium", "--runners", "8", "--output", str(output)]
    ]
    (output / "experiment_state-1.json").touch()
    assert stubs.run(START, output, "hopper-medium").returncode == 0
    assert stubs.calls[1:] == [["dppo", "finetune", "--resume", str(output)]]
    (output / "summary.json").touch()
    assert "is finished" in stubs.run(START, output, "hopper-medium").stdout
    assert len(stubs.calls) == 2


def test_a_run_that_never_began_to_train_is_set_aside(tmp_path, stubs):
    output = tmp_path / "run"
    output.mkdir()
    (output / "run.json").touch()
    stubs.add("dppo")
    assert stubs.run(START, output, "hopper-medium").returncode == 0
    assert stubs.calls[0][:2] == ["dppo", "finetune"] and "--output" in stubs.calls[0]
    (aside,) = tmp_path.glob("run.unbegun-*")
    assert (aside / "run.json").exists() and not output.exists()


def test_the_exit_code_is_that_of_dppo(tmp_path, stubs):
    stubs.add("dppo", script="exit 7")
    assert stubs.run(START, tmp_path / "run", "hopper-medium").returncode == 7
    assert stubs.run(START, tmp_path / "run").returncode == 2


@pytest.mark.parametrize("gpu", [True, False])
def test_a_machine_gets_the_package_and_torch_for_what_it_has(tmp_path, stubs, gpu):
    stubs.add("sudo")
    stubs.add("nvidia-smi", script=f"exit {0 if gpu else 9}")
    pip = Stubs(tmp_path / "home/venv/bin")
    pip.add("pip")
    for _ in range(2):
        result = stubs.run(CLUSTERS / "vm_setup.sh", HOME=str(tmp_path / "home"))
        assert result.returncode == 0, result.stderr
    torch, package = pip.calls[:2]
    for call in (torch, package):
        assert call[:5] == ["pip", "install", "--quiet", "--constraint", "constraints.txt"]
    assert torch[5] == "torch" and ("--extra-index-url" in torch) != gpu
    assert package[5:] == [".[mujoco,cluster]"]
    # Once, although the launcher runs it again.
    (line,) = (tmp_path / "home/.bashrc").read_text().splitlines()
    assert line == f"export PATH={tmp_path}/home/venv/bin:$PATH RAY_AUTH_MODE=token"


def test_slurm_starts_one_cluster_of_both_components(tmp_path, stubs):
    output = tmp_path / "results/hopper"
    # The first component runs its command; the second has machines of its own.
    stubs.add("srun", script=f"mkdir -p {output}; touch {output}/summary.json")
    stubs.add("apptainer")
    stubs.add("hostname", script="echo 10.1.2.3 fe80::1")
    result = stubs.run(CLUSTERS / "slurm/finetune.sbatch", IMAGE="dppo.sif", OUTPUT=str(output))
    assert result.returncode == 0, result.stderr
    (srun,) = [call[1:] for call in stubs.calls if call[0] == "srun"]
    token = [call for call in stubs.calls if call[0] == "apptainer"]
    assert token[0][-3:] == ["ray", "get-auth-token", "--generate"]
    # No component waits for another that has failed.
    assert srun[0] == "--kill-on-bad-exit=1"
    middle = srun.index(":")
    for component, words in enumerate((srun[1:middle], srun[middle + 1 :])):
        assert words[:2] == [f"--het-group={component}", "--cpus-per-task=4"]
        assert words[2:6] == ["apptainer", "exec", "--bind", str(output.parent)]
        ray = words[words.index("ray") :]
        options, command = ray[2 : ray.index("--")], ray[ray.index("--") + 1 :]
        assert ray[1] == "symmetric-run"
        assert options[:4] == ["--address", "10.1.2.3:6379", "--min-nodes", "3"]
        assert command[:3] == ["start_or_resume.sh", str(output), "hopper-medium"]
        # It raises on what symmetric-run does not take, and then on what `ray start` does not.
        start.make_context("start", curate_and_validate_ray_start_args(options))


def test_slurm_fails_where_ray_did_not_start(tmp_path, stubs):
    stubs.add("srun", "apptainer")
    stubs.add("hostname", script="echo 10.1.2.3")
    environment = {"IMAGE": "dppo.sif", "OUTPUT": str(tmp_path / "results/hopper")}
    assert stubs.run(CLUSTERS / "slurm/finetune.sbatch", **environment).returncode != 0
    del environment["IMAGE"]
    result = stubs.run(CLUSTERS / "slurm/finetune.sbatch", **environment)
    assert result.returncode != 0 and "IMAGE" in result.stderr


def test_sbatch_options_stand_before_the_first_command():
    text = (CLUSTERS / "slurm/finetune.sbatch").read_text()
    head, _, body = text.partition("set -euo pipefail")
    assert head.count("#SBATCH hetjob") == 1 and "#SBATCH" not in body
    for line in head.splitlines():
        if line.startswith("#SBATCH --"):
            assert len(shlex.split(line, comments=False)) == 2
