"""The benchmark of the link measures it."""

import sys

from benchmarks import isaac_link
from benchmarks.pages import marks


def test_its_table_goes_into_a_page(monkeypatch, tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("{}\n{}\n".format(*marks("link")))
    options = ["--turns", "2", "--copies", "1", "1000", "--markdown", str(page)]
    monkeypatch.setattr(sys, "argv", ["isaac_link", *options])
    isaac_link.main()
    rows = [line for line in page.read_text().splitlines() if line.startswith("| 1")]
    assert [row.split(" | ")[0] for row in rows] == ["| 1", "| 1,000"]
    for row in rows:
        figures = [float(cell.replace(",", "")) for cell in row.strip("|").split("|")[1:]]
        fastest, median = figures[0::2], figures[1::2]
        assert all(a >= b > 0 for a, b in zip(fastest, median, strict=True))
