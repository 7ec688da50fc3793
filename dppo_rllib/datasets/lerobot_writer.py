"""Write the LeRobot dataset format v3.0, in constant memory."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dppo_rllib.datasets.atomic import new_directory
from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.episodes import check_alike, concatenate, each_episode
from dppo_rllib.datasets.lerobot_images import image_feature
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    CODEBASE_VERSION,
    DATA_PATH,
    EPISODES_PATH,
    INFO_PATH,
    OBSERVATION,
    STATS_PATH,
    TASKS_PATH,
)
from dppo_rllib.datasets.lerobot_tables import (
    data_table,
    episodes_table,
    frame_columns,
    open_parquet,
    tasks_table,
)
from dppo_rllib.datasets.statistics import Statistics, merge_segments, segment_statistics

# A row group is what is read at once: whole episodes, from so many bytes of them on.
_ROW_GROUP_BYTES = 2**20
# Rows of meta/episodes that are kept until they are written.
_EPISODES = 1000


def write_demonstrations(
    demonstrations: Demonstrations | Iterable[Demonstrations],
    path: str | Path,
    *,
    robot_type: str | None = None,
    overwrite: bool = False,
    data_files_size_in_mb: int = 100,
    chunks_size: int = 1000,
) -> Path:
    """Write a LeRobot v3.0 dataset; it appears at `path` whole or not at all.

    Args:
        demonstrations: What to write, whole or in parts of whole episodes, as converters yield
            them: then no more than a part and a row group (1 MiB, or one episode) is in memory.
        path: The dataset's directory, to be created.
        robot_type: LeRobot's field of that name.
        overwrite: Replace a dataset that is there already.
        data_files_size_in_mb: A data file holds whole episodes up to this size (before
            compression), and at least one.
        chunks_size: Data files per `chunk-*` directory.

    Returns:
        `path`.

    Raises:
        FileExistsError: `path` exists, and `overwrite` is false or it is no LeRobot dataset.
        ValueError: The demonstrations are not valid, their parts do not fit each other or there
            are none, or a limit is not positive.
    """
    target = Path(path)
    for name, limit in (
        ("data_files_size_in_mb", data_files_size_in_mb),
        ("chunks_size", chunks_size),
    ):
        if limit < 1:
            raise ValueError(f"{name} is {limit}, expected at least 1")
    if overwrite and target.exists() and not (target / INFO_PATH).is_file():
        raise FileExistsError(
            f"{target} holds no {INFO_PATH}, expected a LeRobot dataset: overwrite=True replaces "
            "nothing else"
        )
    parts = [demonstrations] if isinstance(demonstrations, Demonstrations) else demonstrations
    with new_directory(target, overwrite=overwrite) as root:
        writer = _Writer(root, data_files_size_in_mb, chunks_size)
        try:
            for part in parts:
                writer.add(part)
            writer.finish(robot_type)
        finally:
            writer.close()
    return target


class _Writer:
    """A dataset that grows, episode after episode."""

    def __init__(self, root: Path, data_files_size_in_mb: int, chunks_size: int) -> None:
        self._root = root
        self._data_files_size_in_mb, self._chunks_size = data_files_size_in_mb, chunks_size
        self._first: Demonstrations | None = None
        self._pending: list[Demonstrations] = []
        self._pending_bytes = 0
        self._file, self._file_bytes = 0, 0.0
        self._frames = self._episodes = 0
        self._statistics: Statistics = {}
        self._features: dict[str, Any] = {}
        self._data: pq.ParquetWriter | None = None
        self._meta: pq.ParquetWriter | None = None
        self._meta_rows: list[pa.Table] = []

    def add(self, part: Demonstrations) -> None:
        """More episodes."""
        part.validate()
        if self._first is None:
            self._first = next(each_episode(part))
        check_alike(self._first, part, self._episodes + len(self._pending))
        frame_bytes = sum(c.nbytes for c in frame_columns(part, 0, 0).values()) / part.num_frames
        limit = self._data_files_size_in_mb * 2**20
        for episode in each_episode(part):
            size = episode.num_frames * frame_bytes
            if self._file_bytes and self._file_bytes + size > limit:
                self._flush()
                self._next_file()
            self._file_bytes += size
            self._pending.append(episode)
            self._pending_bytes += int(size)
            if self._pending_bytes >= _ROW_GROUP_BYTES:
                self._flush()

    def finish(self, robot_type: str | None) -> None:
        """What is told of the whole."""
        self._flush()
        if self._first is None:
            raise ValueError("demonstrations have no part, expected at least one episode")
        self._flush_episodes()
        task = tasks_table(self._first.task)
        with open_parquet(self._root / TASKS_PATH, task.schema) as file:
            file.write_table(task)
        _write_json(self._root / STATS_PATH, _as_lists(self._statistics))
        _write_json(self._root / INFO_PATH, self._info(self._first, robot_type))

    def close(self) -> None:
        """Ends the files that are open, also after a failure."""
        for file in (self._data, self._meta):
            if file is not None:
                file.close()
        self._data = self._meta = None

    def _next_file(self) -> None:
        if self._data is not None:
            self._data.close()
            self._data = None
        self._file, self._file_bytes = self._file + 1, 0.0

    def _flush(self) -> None:
        """The episodes that wait become a row group."""
        if not self._pending:
            return
        group = concatenate(self._pending)
        self._pending, self._pending_bytes = [], 0
        columns = frame_columns(group, self._frames, self._episodes)
        if not self._features:
            self._features = _features(group, columns)
        chunk_index, file_index = divmod(self._file, self._chunks_size)
        data = data_table(columns)
        if self._data is None:
            name = DATA_PATH.format(chunk_index=chunk_index, file_index=file_index)
            self._data = open_parquet(self._root / name, data.schema)
        self._data.write_table(data, row_group_size=len(data))
        starts = group.episode_starts
        statistics = {name: segment_statistics(c, starts) for name, c in columns.items()}
        self._meta_rows.append(
            episodes_table(
                group.episode_lengths,
                statistics,
                first_frame=self._frames,
                first_episode=self._episodes,
                chunk_index=chunk_index,
                file_index=file_index,
                task=group.task,
            )
        )
        for name, segments in statistics.items():
            self._statistics[name] = merge_segments(segments, self._statistics.get(name))
        self._frames += group.num_frames
        self._episodes += group.num_episodes
        if sum(map(len, self._meta_rows)) >= _EPISODES:
            self._flush_episodes()

    def _flush_episodes(self) -> None:
        if not self._meta_rows:
            return
        table = pa.concat_tables(self._meta_rows)
        self._meta_rows = []
        if self._meta is None:
            name = EPISODES_PATH.format(chunk_index=0, file_index=0)
            self._meta = open_parquet(self._root / name, table.schema)
        self._meta.write_table(table, row_group_size=len(table))

    def _info(self, first: Demonstrations, robot_type: str | None) -> dict[str, Any]:
        fps = float(first.fps)
        return {
            "codebase_version": CODEBASE_VERSION,
            "robot_type": robot_type,
            "total_episodes": self._episodes,
            "total_frames": self._frames,
            "total_tasks": 1,
            "chunks_size": self._chunks_size,
            "data_files_size_in_mb": self._data_files_size_in_mb,
            "video_files_size_in_mb": 200,
            # LeRobot knows whole numbers only, but does nothing that a fraction would break.
            "fps": int(fps) if fps.is_integer() else fps,
            "splits": {"train": f"0:{self._episodes}"},
            "data_path": DATA_PATH,
            "video_path": None,
            "features": self._features,
        }


def _features(demonstrations: Demonstrations, columns: dict[str, Any]) -> dict[str, Any]:
    names = {
        OBSERVATION: demonstrations.observation_names,
        ACTION: demonstrations.action_names,
    }
    return {
        name: {
            "dtype": column.dtype.name,
            "shape": list(column.shape[1:]) or [1],
            "names": list(names.get(name) or ()) or None,
        }
        if column.ndim < 4
        else image_feature(column)
        for name, column in columns.items()
    }


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
    path.write_text(text, encoding="utf-8")


def _as_lists(statistics: Statistics) -> dict[str, dict[str, list[Any]]]:
    """For JSON. A float32 goes through float64 and back without a change."""
    return {
        name: {key: value.tolist() for key, value in entries.items()}
        for name, entries in statistics.items()
    }
