"""Tables of the LeRobot dataset format v3.0, and Parquet files that take them piece by piece."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.lerobot_images import encode_pictures
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    DONE,
    IMAGES_PREFIX,
    OBSERVATION,
    REWARD,
    SUCCESS,
    TERMINATED,
    TRUNCATED,
)
from dppo_rllib.datasets.statistics import SegmentStatistics


def frame_columns(
    demonstrations: Demonstrations, first_frame: int, first_episode: int
) -> dict[str, np.ndarray]:
    """Every column of the data files: `[M]`, `[M, D]`, or pictures `[M, C, H, W]`.

    Args:
        demonstrations: Whole episodes.
        first_frame: How many frames of the dataset come before.
        first_episode: How many episodes come before.
    """
    lengths, starts = demonstrations.episode_lengths, demonstrations.episode_starts
    index = np.arange(demonstrations.num_frames, dtype=np.int64)
    frame_index = index - np.repeat(starts, lengths)
    return {
        OBSERVATION: demonstrations.observations,
        **{IMAGES_PREFIX + camera: p for camera, p in demonstrations.camera_images.items()},
        ACTION: demonstrations.actions,
        REWARD: demonstrations.rewards,
        DONE: demonstrations.terminated | demonstrations.truncated,
        TERMINATED: demonstrations.terminated,
        TRUNCATED: demonstrations.truncated,
        **({} if demonstrations.success is None else {SUCCESS: demonstrations.success}),
        "timestamp": (frame_index / demonstrations.fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.repeat(first_episode + np.arange(len(lengths)), lengths),
        "index": first_frame + index,
        "task_index": np.zeros_like(index),
    }


def data_table(columns: dict[str, np.ndarray]) -> pa.Table:
    """Frames of a data file, of `frame_columns`."""
    arrays = {
        name: encode_pictures(column, columns["frame_index"])
        if column.ndim == 4
        else _arrow(column)
        for name, column in columns.items()
    }
    return pa.table(arrays)


def episodes_table(
    lengths: Int64[np.ndarray, " E"],
    statistics: dict[str, SegmentStatistics],
    *,
    first_frame: int,
    first_episode: int,
    chunk_index: int,
    file_index: int,
    task: str,
) -> pa.Table:
    """A row for each of some consecutive episodes that lie in one data file.

    Args:
        lengths: Of the episodes.
        statistics: Of their columns.
        first_frame: How many frames of the dataset come before.
        first_episode: How many episodes come before.
        chunk_index: Of the data file.
        file_index: Of the data file.
        task: What they show, in words.
    """
    count, starts = len(lengths), first_frame + np.cumsum(lengths) - lengths
    table: dict[str, Any] = {
        "episode_index": first_episode + np.arange(count, dtype=np.int64),
        "tasks": pa.array([[task]] * count, pa.list_(pa.string())),
        "length": lengths,
        "data/chunk_index": np.full(count, chunk_index, np.int64),
        "data/file_index": np.full(count, file_index, np.int64),
        "dataset_from_index": starts,
        "dataset_to_index": starts + lengths,
        "meta/episodes/chunk_index": np.zeros(count, dtype=np.int64),
        "meta/episodes/file_index": np.zeros(count, dtype=np.int64),
    }
    for name, entries in statistics.items():
        for key, values in entries.items():
            table[f"stats/{name}/{key}"] = _lists(values)
    return pa.table(table)


def tasks_table(task: str) -> pa.Table:
    """One row a task. LeRobot reads it with pandas and looks tasks up by the frame's index."""
    table = pa.table({"task_index": pa.array([0], pa.int64()), "task": pa.array([task])})
    columns = [("task_index", "int64", "int64"), ("task", "unicode", "object")]
    described = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": [
            {"name": n, "field_name": n, "pandas_type": p, "numpy_type": t, "metadata": None}
            for n, p, t in columns
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


def open_parquet(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A file for tables of this schema, of which each becomes a row group.

    Floats are written as byte streams and integers as differences: both smaller than a dictionary.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    encodings, codecs = {}, {}
    for field in schema:
        for leaf, kind in _leaves(field.name, field.type):
            if pa.types.is_floating(kind):
                encodings[leaf] = "BYTE_STREAM_SPLIT"
            elif pa.types.is_integer(kind):
                encodings[leaf] = "DELTA_BINARY_PACKED"
            # PNG files are compressed already.
            codecs[leaf] = "none" if pa.types.is_binary(kind) else "zstd"
    compressed = [leaf for leaf, codec in codecs.items() if codec == "zstd"]
    return pq.ParquetWriter(
        path,
        schema,
        compression=codecs,
        compression_level=dict.fromkeys(compressed, 9),
        use_dictionary=False,
        column_encoding=encodings,
        # Of PNG files they would be the smallest and the largest one, whole.
        write_statistics=compressed,
        write_page_checksum=True,
    )


def _lists(values: np.ndarray) -> pa.Array:
    """A list a row, of lists where there are more axes."""
    array = pa.array(values.reshape(-1))
    for length in reversed(values.shape[1:]):
        offsets = np.arange(0, len(array) + 1, length, dtype=np.int32)
        array = pa.ListArray.from_arrays(offsets, array)
    return array


def _arrow(column: np.ndarray) -> pa.Array:
    """`[M]` and `[M, 1]` as scalars, `[M, D]` as lists of fixed size."""
    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    width = 1 if column.ndim == 1 else column.shape[1]
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def _leaves(name: str, kind: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """Names of Parquet's columns, of which a nested one of Arrow has several."""
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves(f"{name}.{field.name}", field.type)]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaves(f"{name}.list.element", kind.value_type)
    return [(name, kind)]
