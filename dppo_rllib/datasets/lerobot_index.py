"""Where the episodes of a LeRobot dataset lie: their lengths, files and stretches of video."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from dppo_rllib.datasets.lerobot_files import (
    decode_column,
    read_json_lines,
    read_parquet,
    row_of,
    shorten,
)
from dppo_rllib.datasets.lerobot_layout import (
    DATA_PATH,
    EPISODES_DIR,
    FILE_AN_EPISODE,
    INFO_PATH,
    OLD_DATA_PATH,
    OLD_EPISODES_PATH,
    OLD_TASKS_PATH,
    OLD_VIDEO_PATH,
    TASKS_PATH,
    VIDEO,
    VIDEO_PATH,
)


@dataclass(frozen=True, eq=False)
class Stretches:
    """Where the episodes' pictures of a camera begin in its videos.

    Attributes:
        files: By episode.
        starts: `[E]`, in seconds.
    """

    files: list[Path]
    starts: Float64[np.ndarray, " E"]


@dataclass(frozen=True, eq=False)
class EpisodeIndex:
    """The episodes of a dataset.

    Attributes:
        lengths: `[E]`, in frames.
        files: By episode, the Parquet file that holds it.
        videos: By column of a camera whose pictures are in videos.
        task: What is done, in words; those of several tasks are joined by "; ".
        source: What the lengths come from, for messages.
    """

    lengths: Int64[np.ndarray, " E"]
    files: list[Path]
    videos: dict[str, Stretches]
    task: str
    source: str


def read_index(root: Path, info: dict[str, Any]) -> EpisodeIndex:
    """Reads the metadata of the episodes.

    Args:
        root: The dataset's directory.
        info: Of its `info.json`, checked.

    Raises:
        FileNotFoundError: A file of the metadata is missing.
        ValueError: It is damaged, or contradicts itself.
    """
    cameras = [
        name
        for name, feature in info["features"].items()
        if feature.get("dtype") == VIDEO and name.startswith("observation.image")
    ]
    old = info["codebase_version"] in FILE_AN_EPISODE
    index = (_file_an_episode if old else _many_a_file)(root, info, cameras)
    count = len(index.lengths)
    if count != info.get("total_episodes", count):
        raise ValueError(
            f"{root / INFO_PATH}: total_episodes is {info['total_episodes']}, "
            f"expected {count}, the rows of {index.source}"
        )
    if (index.lengths < 1).any():
        episode = int(np.argmax(index.lengths < 1))
        raise ValueError(
            f"{root / index.source}: length of episode {episode} is {index.lengths[episode]}, "
            "expected at least 1"
        )
    return index


def _many_a_file(root: Path, info: dict[str, Any], cameras: list[str]) -> EpisodeIndex:
    """v3.0: a table of the episodes, which tells the file of each."""
    whole = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    for camera in cameras:
        whole += [f"videos/{camera}/{part}_index" for part in ("chunk", "file")]
    seconds = [f"videos/{camera}/from_timestamp" for camera in cameras]
    files = sorted((root / EPISODES_DIR).glob("*/*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{root / EPISODES_DIR} holds no chunk-*/file-*.parquet, expected at least one"
        )
    parts: dict[str, list[np.ndarray]] = {name: [] for name in [*whole, *seconds]}
    for file in files:
        table = read_parquet(file, list(parts))
        for name in parts:
            dtype = np.float64 if name in seconds else np.int64
            parts[name].append(decode_column(table, name, None, dtype, row_of(file)))
    columns = {name: np.concatenate(values) for name, values in parts.items()}
    order = _order(columns["episode_index"], root, EPISODES_DIR)
    columns = {name: values[order] for name, values in columns.items()}

    def paths(field: str, otherwise: str, prefix: str, **keys: str) -> list[Path]:
        places = zip(columns[f"{prefix}/chunk_index"], columns[f"{prefix}/file_index"], strict=True)
        return [
            _path(root, info, field, otherwise, chunk_index=int(c), file_index=int(f), **keys)
            for c, f in places
        ]

    videos = {
        camera: Stretches(
            paths("video_path", VIDEO_PATH, f"videos/{camera}", video_key=camera),
            columns[f"videos/{camera}/from_timestamp"],
        )
        for camera in cameras
    }
    return EpisodeIndex(
        columns["length"], paths("data_path", DATA_PATH, "data"), videos, _task(root), EPISODES_DIR
    )


def _file_an_episode(root: Path, info: dict[str, Any], cameras: list[str]) -> EpisodeIndex:
    """v2.0 and v2.1: a line an episode, whose number tells the file."""
    file = root / OLD_EPISODES_PATH
    rows = read_json_lines(file)
    columns = {}
    for name in ("episode_index", "length"):
        values = [row.get(name) for row in rows]
        if not all(isinstance(value, int) for value in values):
            wrong = next(i for i, value in enumerate(values) if not isinstance(value, int))
            raise ValueError(
                f"{file}: {name} of row {wrong} is {values[wrong]!r}, expected a number"
            )
        columns[name] = np.array(values, np.int64)
    order = _order(columns["episode_index"], root, OLD_EPISODES_PATH)
    size = info.get("chunks_size", 1000)

    def paths(field: str, otherwise: str, **keys: str) -> list[Path]:
        return [
            _path(root, info, field, otherwise, episode_chunk=i // size, episode_index=i, **keys)
            for i in range(len(order))
        ]

    videos = {
        camera: Stretches(
            paths("video_path", OLD_VIDEO_PATH, video_key=camera), np.zeros(len(order))
        )
        for camera in cameras
    }
    tasks = _joined(row.get("task") for row in read_json_lines(root / OLD_TASKS_PATH))
    return EpisodeIndex(
        columns["length"][order],
        paths("data_path", OLD_DATA_PATH),
        videos,
        tasks,
        OLD_EPISODES_PATH,
    )


def _order(index: Shaped[np.ndarray, " E"], root: Path, source: str) -> Int64[np.ndarray, " E"]:
    """Of rows, by episode; each is there once."""
    if len(index) == 0:
        raise ValueError(f"{root / source}: has no rows, expected at least one episode")
    order = np.argsort(index, kind="stable")
    if not np.array_equal(index[order], np.arange(len(index))):
        raise ValueError(
            f"{root / source}: episode_index is {shorten(index[order])}, "
            f"expected each of 0 to {len(index) - 1} once"
        )
    return order


def _path(root: Path, info: dict[str, Any], field: str, otherwise: str, **keys: Any) -> Path:
    template = info.get(field) or otherwise
    try:
        path = root / str(template.format(**keys))
    except (AttributeError, LookupError, ValueError) as error:
        raise ValueError(
            f"{root / INFO_PATH}: {field} is {template!r}, expected a template like {otherwise!r}"
        ) from error
    if ".." in path.parts:
        raise ValueError(f"{root / INFO_PATH}: {field} is {template!r}, expected one without '..'")
    return path


def _task(root: Path) -> str:
    """The task's words are the pandas index of the table: `task`, or nameless in older files."""
    file = root / TASKS_PATH
    table = read_parquet(file, None)
    for name in ("task", "__index_level_0__"):
        if name in table.column_names:
            return _joined(table[name].to_pylist())
    raise ValueError(f"{file}: has no column 'task', only: {', '.join(table.column_names)}")


def _joined(tasks: Iterable[Any]) -> str:
    return "; ".join(str(task) for task in tasks if task)
