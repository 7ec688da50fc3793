"""The benchmarks of furniture measure what they say."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Any:
    if importlib.util.find_spec("furniture_bench") is None:
        pytest.skip("furniture-bench is not installed")
    monkeypatch.syspath_prepend(str(ROOT))
    import benchmarks.furniture
    import benchmarks.furniture_iteration

    return benchmarks


def test_the_documentation_has_the_markers(benchmarks: Any) -> None:
    text = (ROOT / "docs" / "furniture.md").read_text()
    for block in (benchmarks.furniture.BLOCK, benchmarks.furniture_iteration.BLOCK):
        assert all(mark in text for mark in benchmarks.pages.marks(block))


def test_worlds_are_counted_in_steps_of_the_physics(
    benchmarks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter(range(1000))
    # Every look at the clock a second later: an environment step takes one.
    monkeypatch.setattr(benchmarks.furniture.time, "perf_counter", lambda: float(next(ticks)))
    assert benchmarks.furniture.rate("mujoco", worlds=2, steps=1) == 2 * 48


@pytest.mark.slow
def test_an_iteration_is_timed_with_the_runner_here_and_there(
    benchmarks: Any, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("\n".join(benchmarks.pages.marks(benchmarks.furniture_iteration.BLOCK)))
    benchmarks.furniture_iteration.main(
        ["--simulator", "mujoco", "--envs", "2", "--chunks", "1", "--iterations", "1"]
        + ["--markdown", str(page)]
    )
    rows = [line for line in page.read_text().splitlines() if "process" in line]
    assert ["own" in row for row in rows] == [False, True]
    assert all(row.count(" s |") == 4 for row in rows)
