"""`dppo data collect` with a scripted expert."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dppo_rllib.cli import app
from dppo_rllib.datasets.lerobot import read_demonstrations
from dppo_rllib.errors import UserError
from dppo_rllib.tasks import Task, get_task
from dppo_rllib.tasks.scripted import collect_with_expert, has_expert

TASKS = """
from dppo_rllib.tasks import Task, register

for name, env in (
    ("raise", "dppo_rllib/Lift-v0"),
    ("swing", "Pendulum-v1"),
):
    register(Task(name=name, description="Do it.", env=env, obs_dim=19, action_dim=7))
"""
with_simulator = pytest.mark.skipif(
    importlib.util.find_spec("robosuite") is None, reason="needs robosuite"
)


@pytest.fixture(scope="module")
def collect(tmp_path_factory):
    file = tmp_path_factory.mktemp("tasks") / "manipulation.py"
    file.write_text(TASKS)

    def run(*arguments):
        text = ["--tasks-from", str(file), "data", "collect", *map(str, arguments)]
        return CliRunner().invoke(app, text, env={"COLUMNS": "200", "TERM": "dumb"})

    return run


def test_experts_are_found_by_the_environment(collect):
    collect("nothing")  # registers the tasks
    known = [has_expert(get_task(name)) for name in ("raise", "swing", "hopper-medium")]
    assert known == [True, False, False]
    pixels = Task("p", "", "dppo_rllib/SquarePixels-v0", obs_dim=9, action_dim=7)
    assert has_expert(pixels)
    assert has_expert(get_task("avoid-m2")) and has_expert(get_task("kitchen-mixed"))


@with_simulator
def test_what_an_expert_has_done_is_written_and_its_success_told(collect, tmp_path: Path):
    result = collect("raise", "--episodes", 2, "--noise", 0.05, "--output", tmp_path / "data")
    assert result.exit_code == 0, result.output
    assert "2 episodes" in result.output and "Wilson interval" in result.output
    demos = read_demonstrations(tmp_path / "data")
    assert demos.num_episodes == 2 and demos.fps == 20 and demos.task == "Do it."
    last = demos.episode_starts + demos.episode_lengths - 1
    assert np.all(demos.rewards[last] == 1)


def test_an_expert_is_told_what_its_task_wants_to_see(collect, tmp_path: Path):
    result = collect("avoid-m3", "--episodes", 20, "--output", tmp_path / "data")
    assert result.exit_code == 0, result.output
    demos = read_demonstrations(tmp_path / "data")
    last = demos.episode_starts + demos.episode_lengths - 1
    ways = demos.observations[last, 2]
    assert set(np.where(ways < 0.35, 5, np.where(ways > 0.62, 8, 0)).tolist()) == {5, 8}
    # Whichever way is taken: all are kept, one of them is rewarded.
    assert set(demos.rewards[last].tolist()) == {1, 2}
    assert (demos.success[last] == (demos.rewards[last] == 2)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hopper-medium", "--noise", "0.1"], "--noise: task hopper-medium has no scripted"),
        (["swing", "--imperfection", "1"], "task swing: scripted experts solve"),
        (["hopper-medium", "--labels", "intended"], "--labels: task hopper-medium has no scripted"),
        (["raise", "--labels", "meant"], "Invalid value for '--labels'"),
        (["swing"], "policies are trained for ['halfcheetah-medium', "),
        (["raise", "--noise", "-1"], "Invalid value for '--noise'"),
        (["rise"], "did you mean raise"),
    ],
)
def test_mistakes_are_shown_before_anything_is_simulated(collect, tmp_path, arguments, message):
    result = collect(*arguments, "--output", tmp_path / "data")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "data").exists()


def test_an_expert_that_is_given_up_is_no_fault(collect, tmp_path: Path, monkeypatch):
    def give_up(*args: Any, **kwargs: Any) -> None:
        raise UserError("0 of 40 attempts have succeeded")

    monkeypatch.setattr("dppo_rllib.tasks.scripted.collect_with_expert", give_up)
    result = collect("raise", "--output", tmp_path / "data")
    assert result.exit_code == 2 and "0 of 40 attempts" in result.stderr


def test_tasks_without_expert_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="hopper-medium: has no scripted expert"):
        collect_with_expert("hopper-medium", tmp_path / "data")
