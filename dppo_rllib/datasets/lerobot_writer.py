"""Write the LeRobot dataset format v3.0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Int64

from dppo_rllib.datasets.atomic import new_directory
from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.lerobot_images import encode_pictures, image_feature
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    CODEBASE_VERSION,
    DATA_PATH,
    DONE,
    EPISODES_PATH,
    IMAGES_PREFIX,
    INFO_PATH,
    OBSERVATION,
    REWARD,
    STATS_PATH,
    TASKS_PATH,
    TERMINATED,
    TRUNCATED,
)
from dppo_rllib.datasets.statistics import column_statistics, segment_statistics


def write_demonstrations(
    demonstrations: Demonstrations,
    path: str | Path,
    *,
    robot_type: str | None = None,
    overwrite: bool = False,
    data_files_size_in_mb: int = 100,
    chunks_size: int = 1000,
) -> Path:
    """Write a LeRobot v3.0 dataset; it appears at `path` whole or not at all.

    Args:
        demonstrations: What to write; validated first.
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
        ValueError: The demonstrations are not valid, or a limit is not positive.
    """
    target = Path(path)
    demonstrations.validate()
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
    columns = _columns(demonstrations)
    file_of_episode = _assign_files(demonstrations, columns, data_files_size_in_mb)
    info = _info(demonstrations, columns, robot_type, data_files_size_in_mb, chunks_size)
    with new_directory(target, overwrite=overwrite) as root:
        _write_json(root / INFO_PATH, info)
        _write_json(root / STATS_PATH, _as_lists(column_statistics(columns)))
        _write_parquet(root / TASKS_PATH, _tasks_table(demonstrations.task))
        episodes = _episodes_table(demonstrations, columns, file_of_episode, chunks_size)
        _write_parquet(root / EPISODES_PATH.format(chunk_index=0, file_index=0), episodes)
        ends = demonstrations.episode_starts + demonstrations.episode_lengths
        for file in range(int(file_of_episode[-1]) + 1):
            inside = file_of_episode == file
            rows = slice(int(demonstrations.episode_starts[inside][0]), int(ends[inside][-1]))
            chunk_index, file_index = divmod(file, chunks_size)
            _write_parquet(
                root / DATA_PATH.format(chunk_index=chunk_index, file_index=file_index),
                _data_table({name: column[rows] for name, column in columns.items()}),
            )
    return target


def _columns(demonstrations: Demonstrations) -> dict[str, np.ndarray]:
    """Every column of the data files, whole: `[M]`, `[M, D]`, or pictures `[M, C, H, W]`."""
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
        "timestamp": (frame_index / demonstrations.fps).astype(np.float32),
        "frame_index": frame_index,
        "episode_index": np.repeat(np.arange(len(lengths), dtype=np.int64), lengths),
        "index": index,
        "task_index": np.zeros_like(index),
    }


def _assign_files(
    demonstrations: Demonstrations, columns: dict[str, np.ndarray], limit_mb: int
) -> Int64[np.ndarray, " E"]:
    """The number of each episode's data file; consecutive ones share a file up to the limit."""
    frame_bytes = sum(column.nbytes for column in columns.values()) / demonstrations.num_frames
    files = np.zeros(demonstrations.num_episodes, dtype=np.int64)
    filled = 0.0
    for episode, length in enumerate(demonstrations.episode_lengths):
        size = length * frame_bytes
        starts_file = episode > 0 and filled + size > limit_mb * 2**20
        filled = size if starts_file else filled + size
        files[episode] = files[episode - 1] + starts_file if episode else 0
    return files


def _info(
    demonstrations: Demonstrations,
    columns: dict[str, np.ndarray],
    robot_type: str | None,
    data_files_size_in_mb: int,
    chunks_size: int,
) -> dict[str, Any]:
    names = {
        OBSERVATION: demonstrations.observation_names,
        ACTION: demonstrations.action_names,
    }
    features = {
        name: {
            "dtype": column.dtype.name,
            "shape": list(column.shape[1:]) or [1],
            "names": list(names.get(name) or ()) or None,
        }
        if column.ndim < 4
        else image_feature(column)
        for name, column in columns.items()
    }
    fps = float(demonstrations.fps)
    return {
        "codebase_version": CODEBASE_VERSION,
        "robot_type": robot_type,
        "total_episodes": demonstrations.num_episodes,
        "total_frames": demonstrations.num_frames,
        "total_tasks": 1,
        "chunks_size": chunks_size,
        "data_files_size_in_mb": data_files_size_in_mb,
        "video_files_size_in_mb": 200,
        # LeRobot knows whole numbers only, but does nothing that a fraction would break.
        "fps": int(fps) if fps.is_integer() else fps,
        "splits": {"train": f"0:{demonstrations.num_episodes}"},
        "data_path": DATA_PATH,
        "video_path": None,
        "features": features,
    }


def _tasks_table(task: str) -> pa.Table:
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


def _episodes_table(
    demonstrations: Demonstrations,
    columns: dict[str, np.ndarray],
    file_of_episode: Int64[np.ndarray, " E"],
    chunks_size: int,
) -> pa.Table:
    count = demonstrations.num_episodes
    starts = demonstrations.episode_starts
    chunk_index, file_index = np.divmod(file_of_episode, chunks_size)
    table: dict[str, Any] = {
        "episode_index": np.arange(count, dtype=np.int64),
        "tasks": pa.array([[demonstrations.task]] * count, pa.list_(pa.string())),
        "length": demonstrations.episode_lengths,
        "data/chunk_index": chunk_index,
        "data/file_index": file_index,
        "dataset_from_index": starts,
        "dataset_to_index": starts + demonstrations.episode_lengths,
        "meta/episodes/chunk_index": np.zeros(count, dtype=np.int64),
        "meta/episodes/file_index": np.zeros(count, dtype=np.int64),
    }
    for name, column in columns.items():
        for key, values in segment_statistics(column, starts).items():
            table[f"stats/{name}/{key}"] = _lists(values)
    return pa.table(table)


def _lists(values: np.ndarray) -> pa.Array:
    """A list a row, of lists where there are more axes."""
    array = pa.array(values.reshape(-1))
    for length in reversed(values.shape[1:]):
        offsets = np.arange(0, len(array) + 1, length, dtype=np.int32)
        array = pa.ListArray.from_arrays(offsets, array)
    return array


def _data_table(columns: dict[str, np.ndarray]) -> pa.Table:
    arrays = {
        name: encode_pictures(column, columns["frame_index"])
        if column.ndim == 4
        else _arrow(column)
        for name, column in columns.items()
    }
    return pa.table(arrays)


def _arrow(column: np.ndarray) -> pa.Array:
    """`[M]` and `[M, 1]` as scalars, `[M, D]` as lists of fixed size."""
    flat = pa.array(np.ascontiguousarray(column).reshape(-1))
    width = 1 if column.ndim == 1 else column.shape[1]
    return flat if width == 1 else pa.FixedSizeListArray.from_arrays(flat, width)


def _write_parquet(path: Path, table: pa.Table) -> None:
    """Floats as byte streams and integers as differences: both smaller than a dictionary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encodings, codecs = {}, {}
    for field in table.schema:
        for leaf, kind in _leaves(field.name, field.type):
            if pa.types.is_floating(kind):
                encodings[leaf] = "BYTE_STREAM_SPLIT"
            elif pa.types.is_integer(kind):
                encodings[leaf] = "DELTA_BINARY_PACKED"
            # PNG files are compressed already.
            codecs[leaf] = "none" if pa.types.is_binary(kind) else "zstd"
    compressed = [leaf for leaf, codec in codecs.items() if codec == "zstd"]
    pq.write_table(
        table,
        path,
        compression=codecs,
        compression_level=dict.fromkeys(compressed, 9),
        use_dictionary=False,
        column_encoding=encodings,
        # Of PNG files they would be the smallest and the largest one, whole.
        write_statistics=compressed,
        write_page_checksum=True,
    )


def _leaves(name: str, kind: pa.DataType) -> list[tuple[str, pa.DataType]]:
    """Names of Parquet's columns, of which a nested one of Arrow has several."""
    if pa.types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves(f"{name}.{field.name}", field.type)]
    if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return _leaves(f"{name}.list.element", kind.value_type)
    return [(name, kind)]


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False)
    path.write_text(text, encoding="utf-8")


def _as_lists(statistics: dict[str, dict[str, np.ndarray]]) -> dict[str, dict[str, list[Any]]]:
    """For JSON. A float32 goes through float64 and back without a change."""
    return {
        name: {key: value.tolist() for key, value in entries.items()}
        for name, entries in statistics.items()
    }
