"""`dppo data inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from dppo_rllib.cli import app
from dppo_rllib.datasets import Demonstrations, write_demonstrations


def call(*arguments: Any) -> tuple[int, str]:
    text = ["data", "inspect", *map(str, arguments)]
    result = CliRunner().invoke(app, text, env={"COLUMNS": "160", "TERM": "dumb"})
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    last = np.array([False] * 3 + [True] + [False] * 5 + [True])
    observations = rng.normal(size=(10, 2)).astype(np.float32)
    observations[:, 1] = 4
    demonstrations = Demonstrations(
        observations=observations,
        actions=np.linspace(-1, 1, 10, dtype=np.float32)[:, None],
        rewards=last.astype(np.float32),
        terminated=np.zeros(10, bool),
        truncated=last,
        success=np.arange(10) == 2,
        episode_lengths=np.array([4, 6]),
        fps=20,
        task="reach",
        observation_names=("height", "speed"),
    )
    return write_demonstrations(demonstrations, tmp_path / "data")


def test_a_table_tells_what_there_is(dataset: Path) -> None:
    code, text = call(dataset)
    assert code == 0
    for line in (
        "format LeRobot v3.0",
        "task reach",
        "episodes 2",
        "steps 10 at 20 a second",
        "steps an episode 5 on average, 4 to 6",
        "return 1 on average, 1 to 1",
        "ends 2 truncated",
        "success 50.0%",
        "action 0 -1 1",
        "speed 4 4 4 0 constant",
    ):
        assert line in text, line
    assert "NaN" not in text


def test_plots_are_drawn(dataset: Path, tmp_path: Path) -> None:
    code, text = call(dataset, "--plot", tmp_path / "data.png")
    assert code == 0 and "plots in" in text
    with Image.open(tmp_path / "data.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10


def test_gaps_are_told_and_end_with_1(dataset: Path) -> None:
    file = dataset / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    values = [float("nan"), *[0.0] * 9]
    place = table.column_names.index("action")
    pq.write_table(table.set_column(place, "action", pa.array(values, pa.float32())), file)
    code, text = call(dataset)
    assert code == 1 and "constant, 1 NaN" in text
    assert "1 values are NaN, infinite or missing" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/none"], "is no directory, expected a LeRobot dataset"),
        (["{data}", "--plot", "{tmp}/a.txt"], "expected a file that ends in one of .png"),
        (["{data}", "--plot", "{tmp}/none/a.png"], "is no directory, expected one for a.png"),
    ],
)
def test_mistakes_are_told(
    dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, text = call(*[text.format(tmp=tmp_path, data=dataset) for text in arguments])
    assert code == 2 and message in text
