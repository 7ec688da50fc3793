"""`dppo data convert` of files and directories of every known format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dppo_rllib.cli import app
from dppo_rllib.datasets import Demonstrations, read_demonstrations
from dppo_rllib.datasets.convert import robomimic_episodes
from dppo_rllib.datasets.convert.source import Format
from dppo_rllib.datasets.episodes import concatenate
from dppo_rllib.errors import UserError

ROBOMIMIC = Path(__file__).parents[1] / "golden" / "robomimic"


def call(*arguments: Any) -> tuple[int, str]:
    text = ["data", "convert", *map(str, arguments)]
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


def robomimic(path: Path) -> Demonstrations:
    return concatenate(robomimic_episodes(path))


def needs_hdf5() -> None:
    for module in ("h5py", "mujoco", "numba"):
        pytest.importorskip(module)


def test_a_file_of_robomimic_becomes_a_data_set(tmp_path: Path) -> None:
    needs_hdf5()
    code, text = call(ROBOMIMIC / "can.hdf5", "--output", tmp_path / "d", "--episodes", 1)
    assert code == 0
    assert "1 episodes, 25 transitions, mean return 0.0, in" in text
    again = read_demonstrations(tmp_path / "d")
    read = robomimic(ROBOMIMIC / "can.hdf5")
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

    def draw(path: Path, *, image_size: int = 96, progress: Any = None) -> Any:
        read = robomimic(path)
        progress(25, 25)
        images = np.zeros((25, 3, image_size, image_size), np.uint8)
        yield replace(read, images=images, camera_names=("agentview",))

    drawn = Format("Robomimic's HDF5, drawn", draw)
    monkeypatch.setattr("dppo_rllib.datasets.convert.source.DRAWN", drawn)
    file = ROBOMIMIC / "square.hdf5"
    code, text = call(file, "--output", tmp_path / "d", "--render", "--image-size", 8)
    assert code == 0 and "pictures 8 x 8 of agentview, in" in text


@pytest.mark.parametrize("error", [ImportError, UserError])
def test_what_is_missing_for_drawing_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:

    def draw(path: Path, *, progress: Any = None) -> Any:
        raise error("install this")
        yield

    drawn = Format("Robomimic's HDF5, drawn", draw)
    monkeypatch.setattr("dppo_rllib.datasets.convert.source.DRAWN", drawn)
    code, text = call(ROBOMIMIC / "can.hdf5", "--output", tmp_path / "d", "--render")
    assert code == 2 and "install this" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/a.hdf5"], "a.hdf5 is missing"),
        (["{csv}"], "is of no known format, it holds bytes that begin with b'a,b"),
        (["{tmp}"], "is of no known format, it holds a directory with a.csv, train.npz"),
        (["{other}"], "is of no known format, it holds arrays weights"),
        (["{npz}"], "--fps: missing"),
        (["{npz}", "--fps", "0"], "fps is 0.0, expected a positive number"),
        (["{npz}", "--fps", "50", "--pixels"], "has no array 'images'"),
        (["{npz}", "--fps", "50", "--render"], "--render: expected Robomimic's HDF5"),
        (["{npz}", "--fps", "50", "--image-size", "8"], "--image-size 8: expected with --render"),
        (["{npz}", "--fps", "50", "--filter", "train"], "--filter: not an option of the authors'"),
        (["{npz}", "--fps", "50", "--episode-steps", "9"], "--episode-steps: not an option of"),
        (["{npz}", "--fps", "50", "--normalization", "{tmp}/n.npz"], "n.npz is missing"),
        (["{npz}", "--fps", "50", "--output", "{tmp}"], "exists already"),
        (["{npz}", "--fps", "50", "--pixels", "--render"], "expected one of them"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, npz: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "a.csv").write_text("a,b,c,d")
    other = tmp_path / "weights.npz"
    np.savez(other, weights=np.zeros(3))
    names = {"tmp": tmp_path, "npz": npz, "csv": tmp_path / "a.csv", "other": other}
    given = [text.format(**names) for text in arguments]
    output = [] if "--output" in arguments else ["--output", tmp_path / "d"]
    code, text = call(*given, *output)
    assert code == 2 and message in text
    assert not (tmp_path / "d").exists()


FORMATS = Path(__file__).parents[1] / "golden" / "formats"


def test_recordings_of_rllib_become_a_data_set(tmp_path: Path) -> None:
    code, text = call(FORMATS / "rllib_steps", "--output", tmp_path / "d", "--fps", 20)
    assert code == 0 and "2 episodes, 8 transitions" in text
    with np.load(FORMATS / "expected.npz") as expected:
        found = read_demonstrations(tmp_path / "d")
        np.testing.assert_array_equal(found.observations, expected["state"])


def test_pictures_of_minari_become_those_of_a_data_set(tmp_path: Path) -> None:
    names = "--observation", "state", "--observation", "picture"
    arguments = "--output", tmp_path / "d", "--fps", 20, *names
    code, text = call(FORMATS / "minari_arrow", *arguments)
    assert code == 0 and "pictures 36 x 40 of picture" in text
    assert read_demonstrations(tmp_path / "d").camera_names == ("picture",)
