"""Interpreters that the sidecar is run in, and the fakes that it simulates with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from named_fakes import fake

from dppo_rllib.environments.furniture.isaac.client import IsaacClient
from dppo_rllib.environments.furniture.isaac.process import Order, SidecarProcess, Timeouts
from dppo_rllib.environments.furniture.isaac.vector_env import IsaacVectorEnv

# As long as a loaded machine may need; tests of hanging take shorter ones.
PATIENT = Timeouts(start_s=120, answer_s=60, silence_s=60)

if sys.platform != "linux":
    collect_ignore_glob = ["test_*"]


def _pythons_38():
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from sorted(versions.glob("3.8.*/bin/python"))
    if found := shutil.which("python3.8"):
        yield Path(found)


def _runs(*command):
    return subprocess.run(command, capture_output=True, timeout=240).returncode == 0


@pytest.fixture(scope="session")
def python38(request):
    """A Python 3.8 with a NumPy of its time, in an environment that is made once."""
    if (base := next(_pythons_38(), None)) is None:
        pytest.skip("no Python 3.8: neither in pyenv's versions nor python3.8 on the path")
    if _runs(base, "-c", "import numpy"):
        return base
    home = Path(request.config.cache.mkdir("isaac-python38"))
    python = home / "bin" / "python"
    if not _runs(python if python.exists() else base, "-c", "import numpy"):
        install = (python, "-m", "pip", "install", "--quiet", "numpy==1.24.*")
        if not (_runs(base, "-m", "venv", "--clear", home) and _runs(*install)):
            pytest.skip(f"{base} has no NumPy, and numpy==1.24.* cannot be installed for it")
    return python


# With the former there is little that the latter adds.
_AGAIN = pytest.mark.slow if any(_pythons_38()) else ()


@pytest.fixture(params=["3.8", pytest.param("running", marks=_AGAIN)])
def python(request):
    """Python 3.8, and the one of the tests, so that everything is tested without the former."""
    return request.getfixturevalue("python38") if request.param == "3.8" else Path(sys.executable)


@pytest.fixture
def running():
    return Path(sys.executable)


@pytest.fixture
def order():
    def order(environment="FakeFurniture", task="one_leg", num_envs=3):
        return Order(task, "low", num_envs, 700, fake(environment))

    return order


@pytest.fixture
def launch(closing, order):
    """Starts a `SidecarProcess`."""

    def launch(python, *args, timeouts=PATIENT, **kwargs):
        return closing(SidecarProcess(python, order(*args, **kwargs), 0, timeouts))

    return launch


@pytest.fixture
def connect(closing, order):
    """Makes an `IsaacClient`."""

    def connect(python, *args, timeouts=PATIENT, **kwargs):
        return closing(IsaacClient(order(*args, **kwargs), python, timeouts))

    return connect


@pytest.fixture
def make_envs(closing):
    """Makes an `IsaacVectorEnv`."""

    def make_envs(python, environment="FakeFurniture", num_envs=3, **kwargs):
        given = {"task": "one_leg", "randomness": "low", "max_episode_steps": 700, **kwargs}
        return closing(
            IsaacVectorEnv(num_envs=num_envs, python=python, environment=fake(environment), **given)
        )

    return make_envs


@pytest.fixture
def is_gone():
    """Whether nothing is left of a process, not even its exit code."""

    def is_gone(pid):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False

    return is_gone


@pytest.fixture
def calm():
    """Actions of so many copies that ask for nothing in particular."""

    def calm(num_envs=3):
        return np.zeros((num_envs, 10), np.float32)

    return calm
