"""Where something is missing, what is said."""

import sys

import pytest

from dppo_rllib.environments import make_chunked_env
from dppo_rllib.environments.furniture.isaac.interpreter import VARIABLE, find_python
from dppo_rllib.environments.furniture.isaac.process import SidecarError


def needs(error):
    """Whether a message says all that is needed, and what goes without."""
    words = (VARIABLE, "Python 3.8", "IsaacGym Preview 4", "ankile/furniture-bench", "PyPI (0.1)")
    return all(word in str(error) for word in (*words, "FurnitureRLSimEnv", "without @isaacgym"))


def test_without_any_python_it_says_how_to_name_one(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(ImportError, match="DPPO_ISAACGYM_PYTHON is not set") as raised:
        make_chunked_env("dppo_rllib/OneLegLowIsaac-v0", 2, act_steps=8, cond_steps=1)
    assert needs(raised.value)


@pytest.mark.parametrize("given", [True, False])
def test_a_python_that_is_not_there_is_named(given, monkeypatch):
    monkeypatch.setenv(VARIABLE, "/nowhere/python3.8")
    name = "python" if given else VARIABLE
    with pytest.raises(ImportError, match=f"{name}='/nowhere/python3.8': no such") as raised:
        find_python("/nowhere/python3.8" if given else None)
    assert needs(raised.value)


def test_the_variable_names_a_path_or_a_program(monkeypatch):
    monkeypatch.setenv(VARIABLE, sys.executable)
    assert str(find_python(None)) == sys.executable
    assert find_python("env").name == "env"


def test_other_systems_than_linux_are_refused(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ImportError, match="runs on Linux only, this is darwin"):
        find_python(sys.executable)


def test_a_file_that_is_no_program_is_told(launch, tmp_path):
    script = tmp_path / "python3.8"
    script.write_bytes(b"\x00nothing")
    script.chmod(0o755)
    with pytest.raises(ImportError, match=r"python3\.8: cannot be run") as raised:
        launch(script)
    assert needs(raised.value)


def test_a_program_that_is_no_python_is_told(launch, tmp_path):
    script = tmp_path / "python3.8"
    script.write_text("#!/bin/sh\necho hello\n")
    script.chmod(0o755)
    with pytest.raises(SidecarError, match=r"(?s)HELLO.*said last:\nhello"):
        launch(script)


def test_a_module_that_is_not_installed_is_named(python, make_envs):
    with pytest.raises(ImportError, match="isaacgym_that_nobody_has") as raised:
        make_envs(python, "NeedsIsaacGym")
    assert needs(raised.value)


def test_the_fork_that_is_not_installed_is_named(python, closing):
    with pytest.raises(ImportError, match="No module named '") as raised:
        make_chunked_env(
            "dppo_rllib/LampMedIsaac-v0",
            2,
            act_steps=8,
            cond_steps=1,
            env_kwargs={"python": python},
        )
    assert needs(raised.value)


def test_a_package_without_the_class_is_named(python, make_envs):
    """As the original furniture-bench is."""
    with pytest.raises(ImportError, match=r"fake_furniture\.py has no FurnitureRLSimEnv") as raised:
        make_envs(python, "FurnitureRLSimEnv")
    assert needs(raised.value)


def test_a_file_that_is_not_there_is_named(python, make_envs):
    with pytest.raises(ImportError, match=r"absent\.py: no such file"):
        make_envs(python, "absent.py:FakeFurniture")
