"""The files of the Ray cluster launcher are what Ray's own validator accepts."""

from __future__ import annotations

import copy
import re
import shlex
import subprocess
import sys

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start
from stubs import ROOT, shellcheck

CLOUDS = ("aws", "gcp")
COMMANDS = (
    "setup_commands",
    "head_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)


def load(cloud: str) -> dict:
    return yaml.safe_load((ROOT / f"clusters/{cloud}.yaml").read_text())


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_accepts_it(cloud):
    validate_config(prepare_config(load(cloud)))


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("place", [(), ("auth",), ("available_node_types", "runners")])
def test_ray_rejects_a_typo(cloud, place):
    config = copy.deepcopy(load(cloud))
    node = config
    for step in place:
        node = node[step]
    node["max_wokers"] = 1
    with pytest.raises(jsonschema.ValidationError, match="max_wokers"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_commands_are_sound(cloud):
    config = load(cloud)
    for kind in COMMANDS:
        for command in config[kind]:
            shellcheck(command + "\n", name=f"{cloud}.yaml {kind}")


@pytest.mark.slow
@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_only_the_head_gets_fits_to_the_rest(cloud):
    (command,) = load(cloud)["head_setup_commands"]
    command = command.replace("~/venv/bin/pip", f"{sys.executable} -m pip").replace("~/dppo", ".")
    done = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_start_knows_its_options_and_asks_for_the_token(cloud):
    config = load(cloud)
    for kind in ("head_start_ray_commands", "worker_start_ray_commands"):
        command = config[kind][-1].partition("; ")[2]
        mode, ray, verb, *options = shlex.split(command)
        assert (mode, ray, verb) == ("RAY_AUTH_MODE=token", "ray", "start")
        start.make_context("start", options)  # raises on an unknown option
    assert config["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_all_that_the_package_needs_is_sent(cloud):
    sent = load(cloud)["file_mounts"]
    for remote, local in sent.items():
        if not local.startswith("~"):
            assert remote == f"/home/ubuntu/dppo/{local}" and (ROOT / local).exists()
    build = {"dppo_rllib", "pyproject.toml", "README.md", "LICENSE", "constraints.txt"}
    assert build <= set(sent.values())


@pytest.mark.parametrize("cloud", CLOUDS)
def test_head_stays_and_runners_are_spot_machines(cloud):
    types = load(cloud)["available_node_types"]
    spot = {name for name, node in types.items() if re.search("spot", str(node), re.IGNORECASE)}
    assert load(cloud)["head_node_type"] == "learner" and spot == {"runners"}
