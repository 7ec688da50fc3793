"""The benchmark of the policies measures what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import typer

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import policies

    for name, value in {"TURN": 0.0, "UPDATE": 0.0, "ROUNDS": 1, "BATCHES": (1, 2)}.items():
        monkeypatch.setattr(policies, name, value)
    monkeypatch.setattr(policies, "usable_cores", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return policies


def test_every_row_has_its_own_label_and_builds(benchmark: Any) -> None:
    rows = benchmark.all_rows()
    assert len({row.label for row in rows}) == len(rows) == 14
    for row in rows:
        assert row.config.fine_tuned, row.label
        row.config.build_network()


def test_the_table_goes_between_the_markers_of_a_page(benchmark: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, end = benchmark.marks(benchmark.BLOCK)
    page.write_text(f"above\n{begin}\nold\n{end}\nbelow\n")
    benchmark.main(only=["Hopper, MLP 3 × 512, DDPM 20, K'", "GMM"], seconds=0, markdown=page)
    above, _, rest = page.read_text().partition(begin)
    table, _, below = rest.partition(end)
    assert (above, below) == ("above\n", "\nbelow\n")
    assert "old" not in table
    for row in benchmark.all_rows():
        chosen = row.label.startswith("Hopper") and "exact" not in row.label or "GMM" in row.label
        # Once among the figures of sampling, once among those of the update.
        found = table.count(f"| {row.task} | {row.network} | {row.head} |")
        assert found == (2 if chosen else 0), row.label


def test_losses_of_pieces_add_up_to_that_of_the_minibatch(benchmark: Any) -> None:
    [row] = [
        r for r in benchmark.all_rows() if r.label.startswith("Can, pictures, MLP 3 × 512, ViT, G")
    ]
    torch.manual_seed(0)
    policy = benchmark.build_policy(row.config)
    setting = benchmark.Setting(torch.device("cpu"), 1, False)
    data = benchmark.Minibatch.sampled(policy, 4, setting.device)
    counted = benchmark.MinibatchStatistics(policy.chain_steps, setting.device)
    loss = benchmark.actor_loss(policy, setting, data)
    whole = loss(slice(0, 4), counted)
    parts = loss(slice(0, 1), counted) + loss(slice(1, 4), counted)
    torch.testing.assert_close(parts, whole)
    # Nothing has been learned yet: ratios are 1.
    torch.testing.assert_close(whole, -data.advantages[data.row].mean(), rtol=1e-4, atol=1e-5)


def test_rows_that_nothing_matches_are_an_error(benchmark: Any) -> None:
    with pytest.raises(typer.BadParameter, match="no row of"):
        benchmark.main(only=["quantum"], seconds=0, markdown=None)


def test_a_page_without_markers_is_an_error(benchmark: Any, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    begin, _ = benchmark.marks("figures")
    page.write_text(begin)
    with pytest.raises(ValueError, match="expected the lines"):
        benchmark.fill_in(page, "figures", "text")
    assert page.read_text() == begin


def test_figures_of_a_busy_machine_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.pages import busy

    monkeypatch.setattr("os.getloadavg", lambda: (3.2, 1.0, 1.0))
    assert busy() == ", busy otherwise (load 3): only ratios count"
    monkeypatch.setattr("os.getloadavg", lambda: (0.1, 9.0, 9.0))
    assert busy() == ""
