"""Statistics that a LeRobot dataset keeps: of the whole, and of each episode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dppo_rllib.datasets.demonstrations import check_episode_indices
from dppo_rllib.datasets.lerobot_files import read_info, read_json, read_json_lines, read_parquet
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    EPISODES_DIR,
    OBSERVATION,
    OLD_EPISODES_STATS_PATH,
    STATS_PATH,
)
from dppo_rllib.datasets.statistics import SegmentStatistics, Statistics, merge_segments

_KEYS = ("min", "max", "mean", "std", "count")


def read_statistics(
    path: str | Path, *, episodes: Sequence[int] | np.ndarray | None = None
) -> Statistics:
    """The statistics of a dataset: column -> statistic -> array.

    Args:
        path: The dataset's directory.
        episodes: Of these only, for states and actions: merged from those of each; None tells what
            the dataset says of all.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: It is damaged, or the statistics of episodes are not there.
    """
    root = Path(path)
    version = read_info(root)["codebase_version"]
    if episodes is None and version != "v2.1":
        content = read_json(root / STATS_PATH)
        return {
            column: {key: np.atleast_1d(np.asarray(value)) for key, value in entries.items()}
            for column, entries in content.items()
        }
    by_episode = _of_episodes_v2(root) if version.startswith("v2") else _of_episodes(root)
    if episodes is not None:
        count = len(by_episode[OBSERVATION]["count"])
        chosen = check_episode_indices(episodes, count)
        by_episode = {
            column: {key: rows[chosen] for key, rows in entries.items()}
            for column, entries in by_episode.items()
        }
    return {column: merge_segments(entries) for column, entries in by_episode.items()}


def _of_episodes(root: Path) -> dict[str, SegmentStatistics]:
    files = sorted((root / EPISODES_DIR).glob("*/*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{root / EPISODES_DIR} holds no chunk-*/file-*.parquet, expected at least one"
        )
    names = {c: [f"stats/{c}/{key}" for key in _KEYS] for c in (OBSERVATION, ACTION)}
    tables = [
        (file, read_parquet(file, [*sum(names.values(), []), "episode_index"])) for file in files
    ]
    rows = [row for _, table in tables for row in table.to_pylist()]
    rows.sort(key=lambda row: row["episode_index"])
    return {
        column: {
            key: _stacked([row[name] for row in rows], f"{root / EPISODES_DIR}: {name}")
            for key, name in zip(_KEYS, of_column, strict=True)
        }
        for column, of_column in names.items()
    }


def _of_episodes_v2(root: Path) -> dict[str, SegmentStatistics]:
    """v2.1 has them in lines of JSON, v2.0 not at all."""
    file = root / OLD_EPISODES_STATS_PATH
    rows = sorted(read_json_lines(file), key=lambda row: row.get("episode_index", -1))
    found: dict[str, SegmentStatistics] = {}
    for column in (OBSERVATION, ACTION):
        entries = [row.get("stats", {}).get(column, {}) for row in rows]
        found[column] = {}
        for key in _KEYS:
            if any(key not in entry for entry in entries):
                raise ValueError(f"{file}: an episode has no {key} of {column}, expected {_KEYS}")
            values = [entry[key] for entry in entries]
            found[column][key] = _stacked(values, f"{file}: {column} {key}")
    return found


def _stacked(values: list[Any], where: str) -> np.ndarray:
    try:
        stacked = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} differs in length between episodes, or is null") from error
    return stacked.astype(np.int64) if where.endswith("count") else stacked
