import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from dppo_rllib.checkpoints import save_policy

COMMANDS = [
    *(["tasks"], ["pretrain"], ["finetune"], ["eval"], ["import-official"]),
    *(["data", "collect"], ["data", "convert"], ["data", "inspect"], ["data", "push"]),
]


@pytest.mark.parametrize("command", [[], *COMMANDS])
def test_every_command_explains_itself(dppo: Any, command: list[str]) -> None:
    result = dppo(*command, "--help")
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_command_line_itself_needs_neither_ray_nor_torch() -> None:
    code = (
        "import sys, types, importlib.util as u\n"
        "spec = u.find_spec('dppo_rllib')\n"
        "package = types.ModuleType('dppo_rllib')\n"
        "package.__path__ = spec.submodule_search_locations\n"
        "sys.modules['dppo_rllib'] = package\n"
        "import dppo_rllib.cli\n"
        "print([m for m in ('ray', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_tasks_are_listed_with_those_of_the_user(dppo: Any) -> None:
    output = dppo("tasks").output
    assert "hopper-medium" in output
    assert "reach" in output


def test_tasks_that_are_not_ready_say_what_they_need(
    dppo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: {"mujoco": "3.11.0"}.get(name) or found(name)
    )
    output = dppo("tasks").output
    needed = output.partition("Those that are not ready need:")[2].splitlines()
    assert any(
        line.startswith(
            '  pip install "dppo_rllib[mujoco]"  # mujoco 3.11.0 is installed, expected'
        )
        for line in needed
    )
    [hopper] = [line for line in output.splitlines() if "hopper-medium " in line]
    assert hopper.split()[-1] == "no"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["finetune"], "TASK: missing"),
        (["finetune", "hoper-medium"], "did you mean hopper-medium"),
        (["finetune", "reach"], "dppo pretrain reach"),
        (["finetune", "reach", "--from", "{tmp}/none"], "no such directory"),
        (["finetune", "reach", "--from", "{tmp}"], "no policy in it"),
        (["finetune", "hopper-medium", "--from", "{policy}"], "obs_dim=2"),
        (["finetune", "reach", "--from", "{policy}", "--runners", "3"], "expected a divisor"),
        (["finetune", "reach", "--from", "{policy}", "--set", "gama=1"], "gamma"),
        (["finetune", "reach", "--from", "{policy}", "--set", "gamma=2"], "gamma=2"),
        (["finetune", "reach", "--from", "{policy}", "--set", "clip_param=x"], "expected float"),
        (["finetune", "reach", "--from", "{policy}", "--set", "gamma"], "expected key=value"),
        (["finetune", "reach", "--from", "{policy}", "--set", "num_epochs=2.5"], "whole number"),
        (
            ["finetune", "reach", "--from", "{policy}", "--set", "max_episode_steps=5"],
            "of the task",
        ),
        (
            ["finetune", "reach", "--from", "{policy}", "--set", "env_config.x=1"],
            "env_config={'x': 1}: Reach.__init__() got an unexpected keyword argument 'x'",
        ),
        (["finetune", "reach", "--from", "{policy}", "--set", "seed=1"], "use --seed"),
        (["finetune", "reach", "--from", "{policy}", "--output", "{policy}"], "exists already"),
        (["finetune", "--resume", "{tmp}"], "output directory of an earlier run"),
        (["pretrain", "reach"], "no demonstrations"),
        (["eval", "{tmp}/none"], "no such directory"),
        (["eval", "{policy}", "--task", "hopper-medium"], "observation dimension 11"),
        (["eval", "{policy}", "--env", "Nothing-v0"], "Nothing-v0"),
        (["eval", "{policy}", "--task", "reach", "--video", "x.gif"], "ends in .mp4"),
        (["data", "collect", "hoper", "--output", "{tmp}/d"], "unknown"),
        (["data", "collect", "hopper-medium", "--output", "{tmp}"], "exists already"),
        (["--tasks-from", "{tmp}/none.py", "tasks"], "no such file"),
    ],
)
def test_mistakes_are_shown_without_traceback(
    dppo: Any, reach_policy: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = dppo(*[text.format(tmp=tmp_path, policy=reach_policy) for text in arguments])
    text = " ".join(result.stderr.replace("│", " ").split())
    assert result.exit_code == 2, result.output
    assert message in text
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_the_newest_policy_of_a_run_is_found(reach_policy: Path, tmp_path: Path) -> None:
    from dppo_rllib.checkpoints import load_policy
    from dppo_rllib.checkpoints.find import find_policy

    policy = load_policy(reach_policy)
    old = save_policy(policy, tmp_path / "trial" / "checkpoint_000001" / "policy")
    new = save_policy(policy, tmp_path / "trial" / "checkpoint_000002" / "policy")
    assert find_policy(tmp_path).local == find_policy(tmp_path / "trial").local == new
    assert find_policy(old.parent).local == find_policy(old).local == old
    (new / "policy.json").unlink()  # its machine died before this one, which is written last
    assert find_policy(tmp_path).local == old
    last = save_policy(policy, tmp_path / "policy")
    assert find_policy(tmp_path).local == last
