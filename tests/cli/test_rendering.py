"""Where nothing can be drawn, commands say in one sentence what to install."""

from __future__ import annotations

import ctypes.util
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("robosuite") is None, reason="robosuite is not installed"
)

# All in one process, whose start is what takes time.
RUN = """
import sys
from typer.testing import CliRunner
from dppo_rllib.cli import app

policy, output = sys.argv[1:]
for command in (
    ["eval", policy, "--task", "lift-pixels"],
    ["data", "collect", "lift-pixels", "--output", output],
    ["data", "collect", "lift", "--output", output],
    ["eval", policy, "--env", "Hopper-v5"],
):
    result = CliRunner().invoke(app, command, env={"COLUMNS": "1000"})
    print(result.exit_code, *result.output.split())
"""


@pytest.mark.parametrize("backend", ["vulkan", pytest.param("osmesa", marks=pytest.mark.slow)])
def test_an_opengl_that_is_not_there_is_one_sentence(
    reach_policy: Path, tmp_path: Path, backend: str
) -> None:
    if backend == "osmesa" and ctypes.util.find_library("OSMesa"):
        pytest.skip("OSMesa is installed")
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(reach_policy), str(tmp_path / "data")],
        env={**os.environ, "MUJOCO_GL": backend},
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 4, done.stderr
    for line in lines:
        assert line.startswith("2 ") and f"MUJOCO_GL={backend}: MuJoCo cannot" in line
        assert "apt-get install libosmesa6" in line and "Traceback" not in line
