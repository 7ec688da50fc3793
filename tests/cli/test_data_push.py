"""`dppo data push`, and data sets of the Hub in other commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from dppo_rllib.cli import app
from dppo_rllib.datasets import Demonstrations, read_demonstrations, write_demonstrations

pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")


def call(*arguments: Any) -> tuple[int, str]:
    text = ["data", *map(str, arguments)]
    result = CliRunner().invoke(app, text, env={"COLUMNS": "160", "TERM": "dumb"})
    assert "Traceback" not in result.output
    return result.exit_code, " ".join(result.output.replace("│", " ").split())


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    from fake_hub import running_hub

    with running_hub(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    demonstrations = Demonstrations(
        observations=np.arange(6, dtype=np.float32).reshape(3, 2),
        actions=np.zeros((3, 1), np.float32),
        rewards=np.zeros(3, np.float32),
        terminated=np.zeros(3, bool),
        truncated=np.array([False, False, True]),
        episode_lengths=np.array([3]),
        fps=20,
    )
    return write_demonstrations(demonstrations, tmp_path / "data")


def test_what_is_pushed_is_inspected_and_converted_by_name(
    server: Any, dataset: Path, tmp_path: Path
) -> None:
    code, text = call("push", dataset, "someone/reach")
    assert code == 0 and "--set dataset=hf://someone/reach" in text
    code, text = call("inspect", "hf://someone/reach")
    assert code == 0 and "hf://someone/reach" in text and "episodes 1" in text
    code, text = call("convert", "hf://someone/reach", "--output", tmp_path / "new")
    assert code == 0 and read_demonstrations(tmp_path / "new").num_frames == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["push", "{data}", "reach"], "hf://reach: expected hf://user/name"),
        (["push", "{tmp}/none", "someone/reach"], "none is no directory"),
        (["inspect", "hf://someone/none"], "cannot be had from the Hub"),
    ],
)
def test_mistakes_are_told(
    server: Any, dataset: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    code, text = call(*[text.format(tmp=tmp_path, data=dataset) for text in arguments])
    assert code == 2 and message in text


def test_a_refusal_is_told(server: Any, dataset: Path) -> None:
    server.refused = 401
    code, text = call("push", dataset, "someone/reach")
    assert code == 2 and "the Hub refuses" in text
