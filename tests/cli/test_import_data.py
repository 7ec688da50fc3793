"""`dppo data import` of Robomimic's files and of the authors' npz."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dppo_rllib.cli import app
from dppo_rllib.datasets import read_demonstrations
from dppo_rllib.datasets.convert import read_robomimic_hdf5

ROBOMIMIC = Path(__file__).parents[1] / "golden" / "robomimic"


def call(*arguments: Any) -> tuple[int, str]:
    text = ["data", "import", *map(str, arguments)]
    result = CliRunner().invoke(app, text, env={"COLUMNS": "200", "TERM": "dumb"})
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    file = tmp_path / "train.npz"
    states, actions = rng.normal(size=(9, 4)), rng.normal(size=(9, 3))
    np.savez(file, states=states, actions=actions, traj_lengths=np.array([4, 3, 2]))
    return file


def needs_hdf5() -> None:
    for module in ("h5py", "mujoco", "numba"):
        pytest.importorskip(module)


def test_a_file_of_robomimic_becomes_a_data_set(tmp_path: Path) -> None:
    needs_hdf5()
    code, text = call(ROBOMIMIC / "can.hdf5", "--output", tmp_path / "d", "--episodes", 1)
    assert code == 0
    assert "1 episodes, 25 transitions, mean return 0.0, in" in text
    again = read_demonstrations(tmp_path / "d")
    read = read_robomimic_hdf5(ROBOMIMIC / "can.hdf5")
    np.testing.assert_array_equal(again.observations, read.observations)
    assert again.fps == 20 and again.task == "put the can into its bin"


def test_an_npz_of_the_authors_becomes_a_data_set(tmp_path: Path, npz: Path) -> None:
    arguments = "--fps", 50, "--episodes", 2, "--task", "hop"
    code, text = call(npz, "--output", tmp_path / "d", *arguments)
    assert code == 0 and "2 episodes, 7 transitions" in text
    again = read_demonstrations(tmp_path / "d")
    assert again.fps == 50 and again.task == "hop"


def test_drawn_pictures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_hdf5()
    from dataclasses import replace

    def draw(path: Path, *, image_size: int, progress: Any, **chosen: Any) -> Any:
        assert chosen == {"task": None, "filter_key": None, "max_episodes": None}
        read = read_robomimic_hdf5(path)
        progress(25, 25)
        images = np.zeros((25, 3, image_size, image_size), np.uint8)
        return replace(read, images=images, camera_names=("agentview",))

    monkeypatch.setattr("dppo_rllib.datasets.convert.render_robomimic_hdf5", draw)
    file = ROBOMIMIC / "square.hdf5"
    code, text = call(file, "--output", tmp_path / "d", "--render", "--image-size", 8)
    assert code == 0 and "pictures 8 x 8 of agentview, in" in text


@pytest.mark.parametrize("error", [ImportError, RuntimeError])
def test_what_is_missing_for_drawing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:

    def draw(*args: Any, **kwargs: Any) -> Any:
        raise error("install this")

    monkeypatch.setattr("dppo_rllib.datasets.convert.render_robomimic_hdf5", draw)
    code, text = call(ROBOMIMIC / "can.hdf5", "--output", tmp_path / "d", "--render")
    assert code == 2 and "install this" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/a.csv"], "expected a file that ends in .hdf5, .h5 or .npz"),
        (["{tmp}/a.hdf5"], "a.hdf5 is missing"),
        (["{tmp}/a.hdf5", "--fps", "20"], "--fps: expected with an .npz only"),
        (["{tmp}/a.hdf5", "--pixels", "--render"], "expected one of them"),
        (["{tmp}/a.hdf5", "--image-size", "8"], "--image-size 8: expected with --render only"),
        (["{npz}"], "--fps: missing"),
        (["{npz}", "--fps", "0"], "fps is 0.0, expected a positive number"),
        (["{npz}", "--fps", "50", "--pixels"], "--pixels: expected with an .hdf5 only"),
        (["{npz}", "--fps", "50", "--filter", "train"], "--filter: expected with an .hdf5 only"),
        (["{npz}", "--fps", "50", "--normalization", "{tmp}/n.npz"], "n.npz is missing"),
        (["{npz}", "--fps", "50", "--output", "{tmp}"], "exists already"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, npz: Path, arguments: list[str], message: str) -> None:
    given = [text.format(tmp=tmp_path, npz=npz) for text in arguments]
    output = [] if "--output" in arguments else ["--output", tmp_path / "d"]
    code, text = call(*given, *output)
    assert code == 2 and message in text
    assert not (tmp_path / "d").exists()
