"""The benchmark of datasets measures what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import datasets

    small = (
        datasets.Workload("states", 10, 2000, (11, 3)),
        datasets.Workload("pictures", 24, 30, (2, 1), 48),
    )
    monkeypatch.setattr(datasets, "WORKLOADS", small)
    monkeypatch.setattr(datasets, "ROUNDS", 1)
    monkeypatch.setattr(datasets, "LIMITS", (40, 20))  # a row group takes more than they have
    return datasets


def test_the_table_goes_between_the_markers_of_a_page(benchmark: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- datasets: begin -->\nold\n<!-- datasets: end -->\n")
    benchmark.main(markdown=page, directory=tmp_path)
    table = page.read_text()
    assert "old" not in table
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")][2:]
    assert [row[0].strip() for row in rows] == ["states", "", "", "pictures", "", ""]
    assert all(float(row[4].replace(",", "")) > 0 for row in rows)
