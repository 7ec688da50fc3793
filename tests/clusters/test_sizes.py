"""Every cluster has exactly the processors and GPUs of the command that it says it is made for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import pytest
import yaml
from stubs import ROOT

from dppo_rllib.tasks import get_task


class Node(NamedTuple):
    """What Ray may use of each of `count` nodes."""

    count: int
    cpus: int
    gpus: int


def launcher(text: str) -> list[Node]:
    config = yaml.safe_load(text)
    return [
        Node(
            1 if name == config["head_node_type"] else kind["min_workers"],
            kind["resources"]["CPU"],
            kind["resources"].get("GPU", 0),
        )
        for name, kind in config["available_node_types"].items()
    ]


def kuberay(text: str) -> list[Node]:
    spec = yaml.safe_load(text)["spec"]
    spec = spec.get("rayClusterSpec", spec)
    nodes = []
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        cpus = int(group["rayStartParams"].get("num-cpus", limits["cpu"]))
        assert cpus <= int(limits["cpu"])
        count = group.get("replicas", 1)
        assert group.get("minReplicas", 1) == count
        nodes.append(Node(count, cpus, int(limits.get("nvidia.com/gpu", 0))))
    return nodes


def slurm(text: str) -> list[Node]:
    machines = [int(n) for n in re.findall(r"^#SBATCH --nodes=(\d+)", text, re.MULTILINE)]
    cores = [int(n) for n in re.findall(r"--cpus-per-task=(\d+)", text)]
    assert cores[:2] == cores[2:]  # of the job and of its step
    shares = re.findall(r"--num-cpus=(\d+) --num-gpus=(\d+)", text)
    nodes = [Node(n, int(c), int(g)) for n, (c, g) in zip(machines, shares, strict=True)]
    assert all(node.cpus <= have for node, have in zip(nodes, cores[:2], strict=True))
    assert f"nodes={sum(machines)}\n" in text
    return nodes


FILES: dict[str, Callable[[str], list[Node]]] = {
    "aws.yaml": launcher,
    "gcp.yaml": launcher,
    "kuberay/raycluster.yaml": kuberay,
    "kuberay/rayjob.yaml": kuberay,
    "slurm/finetune.sbatch": slurm,
}


@pytest.mark.parametrize("name", FILES)
def test_resources_are_those_of_the_command(name):
    text = (ROOT / "clusters" / name).read_text()
    made_for = re.search(
        r"# Made for: dppo finetune (\S+) "
        r"(--runners (\d+) --learners (\d+) --gpus-per-learner (\d+))",
        text,
    )
    assert made_for
    runners, learners, gpus = (int(number) for number in made_for.groups()[2:])
    nodes = FILES[name](text)
    # A CPU for the main process, for each learner and for each runner.
    assert sum(node.count * node.cpus for node in nodes) == 1 + learners + runners
    assert sum(node.count * node.gpus for node in nodes) == learners * gpus
    # Main process and learners fill the nodes with GPUs, so that runners go elsewhere.
    assert sum(node.count * node.cpus for node in nodes if node.gpus) == 1 + learners
    assert get_task(made_for[1]).num_envs % runners == 0
    if "start_or_resume.sh" in text:
        assert " ".join(text.split()).count(made_for[2]) == 2


@pytest.mark.parametrize("name", FILES)
def test_three_lines_say_when_to_choose_it(name):
    lines = (ROOT / "clusters" / name).read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("# Choose it"))
    assert [line == "#" for line in lines[first - 1 : first + 4]] == [True, *[False] * 3, True]
