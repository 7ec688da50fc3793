"""The frames of some episodes of a LeRobot dataset, row group after row group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64, UInt8

from dppo_rllib.datasets.lerobot_files import decode_column, open_parquet_file, row_of
from dppo_rllib.datasets.lerobot_images import decode_pictures
from dppo_rllib.datasets.lerobot_index import EpisodeIndex
from dppo_rllib.datasets.lerobot_layout import DONE, SUCCESS, TERMINATED, TRUNCATED

_EPISODE, _FRAME = "episode_index", "frame_index"


def read_frames(
    index: EpisodeIndex,
    episodes: Int64[np.ndarray, " n"],
    dims: dict[str, int | None],
    pictures: dict[str, UInt8[np.ndarray, "M C H W"]],
) -> dict[str, np.ndarray]:
    """Columns of some episodes, episode after episode in that order.

    Only files and row groups that hold some of them are read, one row group at a time.

    Args:
        index: Tells where they are.
        episodes: Distinct ones.
        dims: By column, what `decode_column` takes.
        pictures: By column, where pictures are decoded to.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: Names file, row group and episode.
    """
    lengths = index.lengths[episodes]
    first = np.full(len(index.lengths), -1, np.int64)
    first[episodes] = np.cumsum(lengths) - lengths
    total = int(lengths.sum())
    columns = {
        name: np.empty(total if dim is None else (total, dim), _dtype(name))
        for name, dim in dims.items()
    }
    seen = np.zeros(total, np.int64)
    for file, wanted in _by_file(index, np.sort(episodes)).items():
        for group in row_groups(file, [_EPISODE, _FRAME, *dims, *pictures], wanted):
            rows = first[group.episodes] + _frames(group, index)
            for name, dim in dims.items():
                values = decode_column(group.table, name, dim, _dtype(name), group.place)
                columns[name][rows] = values
            for name, into in pictures.items():
                decode_pictures(group.table[name], into, rows, name, group.place)
            np.add.at(seen, rows, 1)
        _check_complete(seen, wanted, first, index, file)
    return columns


def row_group_blocks(
    index: EpisodeIndex, episodes: Int64[np.ndarray, " n"]
) -> list[Int64[np.ndarray, " m"]]:
    """Episodes that begin in the same row group, which is decoded as a whole.

    Args:
        index: Tells where they are.
        episodes: Ascending.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: One is damaged.
    """
    alone = {file for file, count in Counter(index.files).items() if count == 1}
    blocks: list[Int64[np.ndarray, " m"]] = []
    for file, inside in _by_file(index, episodes).items():
        if file in alone:
            blocks.append(inside)
            continue
        with open_parquet_file(file, [_EPISODE]) as parquet:
            groups = [_episode_range(parquet, i) for i in range(parquet.num_row_groups)]
        ends = [group[1] for group in groups if group is not None]
        if len(ends) < len(groups):
            blocks.append(inside)  # nothing tells what is where
            continue
        where = np.searchsorted(np.array(ends), inside)
        blocks += [inside[where == group] for group in np.unique(where)]
    return blocks


@dataclass(frozen=True, eq=False)
class RowGroup:
    """The rows of a row group that belong to wanted episodes.

    Attributes:
        where: File and row group, for messages.
        table: The rows.
        rows: `[m]`, their numbers in the row group.
        episodes: `[m]`, the episode of each.
    """

    where: str
    table: pa.Table
    rows: Int64[np.ndarray, " m"]
    episodes: Int64[np.ndarray, " m"]

    def place(self, row: int) -> str:
        """What to call a row in messages."""
        if not len(self.rows):
            return self.where
        return f"{self.where}: row {self.rows[row]} (episode {self.episodes[row]})"


def row_groups(
    file: Path, columns: list[str], wanted: Int64[np.ndarray, " n"]
) -> Iterator[RowGroup]:
    """The row groups of a file that hold some of these episodes.

    Args:
        file: A data file.
        columns: To be read, `episode_index` among them.
        wanted: Ascending.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is damaged, or lacks a column.
    """
    with open_parquet_file(file, columns) as parquet:
        for number in range(parquet.num_row_groups):
            if not _may_hold(parquet, number, wanted):
                continue
            where = f"{file}: row group {number}"
            try:
                table = parquet.read_row_group(number, columns)
            except (pa.ArrowException, OSError) as error:
                raise ValueError(
                    f"{where}{_episodes_in(parquet, number)} is no readable part of a Parquet file "
                    f"({error})"
                ) from error
            episodes = decode_column(table, _EPISODE, None, np.int64, row_of(where))
            rows = np.flatnonzero(np.isin(episodes, wanted))
            if len(rows) < len(episodes):
                table = table.take(rows)
            yield RowGroup(where, table, rows, episodes[rows])


def _by_file(
    index: EpisodeIndex, episodes: Int64[np.ndarray, " n"]
) -> dict[Path, Int64[np.ndarray, " m"]]:
    found: dict[Path, list[int]] = {}
    for episode in episodes.tolist():
        found.setdefault(index.files[episode], []).append(episode)
    return {file: np.array(inside, np.int64) for file, inside in found.items()}


def _may_hold(parquet: pq.ParquetFile, group: int, wanted: Int64[np.ndarray, " n"]) -> bool:
    """By the statistics of the row group, where it has some."""
    found = _episode_range(parquet, group)
    if found is None:
        return True
    place = np.searchsorted(wanted, found[0])
    return bool(place < len(wanted) and wanted[place] <= found[1])


def _episode_range(parquet: pq.ParquetFile, group: int) -> tuple[int, int] | None:
    """The first and the last episode of a row group, where its statistics tell them."""
    metadata = parquet.metadata.row_group(group)
    for i in range(metadata.num_columns):
        column = metadata.column(i)
        if column.path_in_schema == _EPISODE:
            statistics = column.statistics
            if statistics is not None and statistics.has_min_max:
                return int(statistics.min), int(statistics.max)
    return None


def _episodes_in(parquet: pq.ParquetFile, group: int) -> str:
    """What to say of the episodes of a row group whose rows cannot be read."""
    found = _episode_range(parquet, group)
    if found is None:
        return ""
    first, last = found
    return f" (episode {first})" if first == last else f" (episodes {first} to {last})"


def _frames(group: RowGroup, index: EpisodeIndex) -> Int64[np.ndarray, " m"]:
    """Of each row the number within its episode, which is one there can be."""
    frames = decode_column(group.table, _FRAME, None, np.int64, group.place)
    lengths = index.lengths[group.episodes]
    wrong = (frames < 0) | (frames >= lengths)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{group.where}: frame_index of episode {group.episodes[row]} is {frames[row]}, "
            f"expected 0 to {lengths[row] - 1}, as {index.source} tells its length"
        )
    return frames


def _check_complete(
    seen: Int64[np.ndarray, " M"],
    wanted: Int64[np.ndarray, " n"],
    first: Int64[np.ndarray, " E"],
    index: EpisodeIndex,
    file: Path,
) -> None:
    """A file holds each of its episodes whole: frame_index 0 .. length - 1."""
    for episode in wanted.tolist():
        length = int(index.lengths[episode])
        found = seen[first[episode] : first[episode] + length]
        if found.sum() != length:
            raise ValueError(
                f"{file}: episode {episode} has {found.sum()} frames, expected {length}, its "
                f"length in {index.source}"
            )
        if (found != 1).any():
            missing = int(np.argmin(found))
            raise ValueError(f"{file}: frame_index of episode {episode} lacks {missing}")


def _dtype(column: str) -> type[np.generic]:
    if column in (SUCCESS, DONE, TERMINATED, TRUNCATED):
        return np.bool_
    return np.float32
