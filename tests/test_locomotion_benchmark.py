"""The benchmark of locomotion measures what it says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco")
ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import locomotion

    monkeypatch.setattr(locomotion, "NUM_ENVS", 2)
    return locomotion


def test_all_contestants_simulate_the_same(benchmark: Any) -> None:
    """Of those whose states can be seen."""
    chunks = np.random.default_rng(0).uniform(-1, 1, (2, 4, 3)).astype(np.float32)
    ours, generic = (benchmark.of_ours("Hopper-v5", way) for way in ("auto", "sync"))
    shown = []
    for contestant in (ours, generic):
        contestant.reset()
        shown += [contestant.step(chunks)[0]["state"] for _ in range(12)]
        contestant.close()
    np.testing.assert_array_equal(shown[:12], shown[12:])


def test_tables_go_between_the_markers_of_a_page(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    blocks = [f"locomotion per {unit}" for unit in ("CPU second", "second")]
    marks = [f"<!-- {block}: {end} -->" for block in blocks for end in ("begin", "end")]
    page.write_text("\n".join(marks))
    options = ("--rounds", "1", "--episodes", "1", "--envs", "HalfCheetah-v5")
    monkeypatch.setattr("sys.argv", ["locomotion", *options, "--markdown", str(page)])
    benchmark.main()
    text = page.read_text()
    assert all(mark in text for mark in marks)
    assert text.count("| HalfCheetah-v5 |") == 2 and "Environment steps per CPU second" in text


def test_the_documentation_has_the_markers(benchmark: Any) -> None:
    text = (ROOT / "docs" / "locomotion.md").read_text()
    for unit in ("CPU second", "second"):
        assert f"<!-- locomotion per {unit}: begin -->" in text
