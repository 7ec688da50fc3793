"""Read the LeRobot dataset format v3.0: ours, and what is on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64, UInt8

from dppo_rllib.datasets.demonstrations import (
    Demonstrations,
    check_episode_indices,
    frames_of,
)
from dppo_rllib.datasets.lerobot_files import decode_column, read_info, read_json, read_parquet
from dppo_rllib.datasets.lerobot_images import camera_name, cameras_of, decode_pictures
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    DATA_PATH,
    DONE,
    EPISODES_DIR,
    INFO_PATH,
    OBSERVATION,
    REWARD,
    STATS_PATH,
    TASKS_PATH,
    TERMINATED,
    TRUNCATED,
)
from dppo_rllib.datasets.statistics import Statistics


def read_demonstrations(
    path: str | Path,
    *,
    episodes: Sequence[int] | np.ndarray | None = None,
    cameras: Sequence[str] | None = None,
) -> Demonstrations:
    """Read a LeRobot v3.0 dataset's states, actions, rewards, ends and pictures.

    Datasets of others may declare less than ours: without `next.reward` rewards are 0, without
    `next.terminated` the `next.done` of an episode's last frame is a termination, and without that
    the episode just stops. The words of several tasks are joined by "; ". Pictures are features
    `observation.images.<camera>` of dtype "image"; videos are left alone.

    Args:
        path: The dataset's directory.
        episodes: Read these only, in this order; None reads all. Only their files are opened.
        cameras: Read their pictures, channels in this order; None reads all cameras, in the order
            of the features, and `()` none.

    Raises:
        FileNotFoundError: The directory or a file of it is missing.
        ValueError: Anything else that is wrong, with the file, the field or column, the value
            found, and what was expected.
    """
    root = Path(path)
    info = read_info(root)
    table = _read_episodes(root)
    if len(table.lengths) != info.get("total_episodes", len(table.lengths)):
        raise ValueError(
            f"{root / INFO_PATH}: total_episodes is {info['total_episodes']}, "
            f"expected {len(table.lengths)}, the rows of {EPISODES_DIR}"
        )
    everything = np.arange(len(table.lengths))
    chosen = everything if episodes is None else check_episode_indices(episodes, len(everything))
    shapes = cameras_of(info, cameras, root / INFO_PATH)
    columns, images = _read_frames(root, info, table, chosen, shapes)
    lengths = table.lengths[chosen]
    last = np.zeros(int(lengths.sum()), dtype=bool)
    last[np.cumsum(lengths) - 1] = True
    none = np.zeros(len(last), dtype=bool)
    demonstrations = Demonstrations(
        observations=columns[OBSERVATION],
        actions=columns[ACTION],
        rewards=columns.get(REWARD, none.astype(np.float32)),
        # `next.done` may stay true for some frames of a recording that went on after success.
        terminated=columns.get(TERMINATED, columns.get(DONE, none)) & last,
        truncated=columns.get(TRUNCATED, none) & last,
        episode_lengths=lengths,
        fps=float(info["fps"]),
        task=_read_task(root),
        observation_names=_names(info, OBSERVATION),
        action_names=_names(info, ACTION),
        images=images,
        camera_names=tuple(map(camera_name, shapes)) if shapes else None,
    )
    demonstrations.validate()
    return demonstrations


def read_statistics(path: str | Path) -> Statistics:
    """The statistics of a whole dataset from `meta/stats.json`: column -> statistic -> array.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not JSON.
    """
    content = read_json(Path(path) / STATS_PATH)
    return {
        column: {key: np.atleast_1d(np.asarray(value)) for key, value in entries.items()}
        for column, entries in content.items()
    }


class _Episodes(NamedTuple):
    """meta/episodes, ordered by episode: a row each."""

    lengths: Int64[np.ndarray, " E"]
    chunk_index: Int64[np.ndarray, " E"]
    file_index: Int64[np.ndarray, " E"]


def _read_episodes(root: Path) -> _Episodes:
    files = sorted((root / EPISODES_DIR).glob("*/*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{root / EPISODES_DIR} holds no chunk-*/file-*.parquet, expected at least one"
        )
    names = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    parts = []
    for file in files:
        table = read_parquet(file, names)
        parts.append(np.stack([decode_column(table, name, None, np.int64, file) for name in names]))
    index, lengths, chunk_index, file_index = np.concatenate(parts, axis=1)
    if len(index) == 0:
        raise ValueError(f"{root / EPISODES_DIR}: has no rows, expected at least one episode")
    order = np.argsort(index, kind="stable")
    if not np.array_equal(index[order], np.arange(len(index))):
        raise ValueError(
            f"{root / EPISODES_DIR}: episode_index is {_shorten(index[order])}, "
            f"expected each of 0 to {len(index) - 1} once"
        )
    return _Episodes(lengths[order], chunk_index[order], file_index[order])


def _read_frames(
    root: Path,
    info: dict[str, Any],
    table: _Episodes,
    chosen: Int64[np.ndarray, " n"],
    cameras: dict[str, tuple[int, int, int]],
) -> tuple[dict[str, np.ndarray], UInt8[np.ndarray, "M C H W"] | None]:
    """The columns and pictures of the chosen episodes, episode after episode in that order."""
    dims: dict[str, int | None] = {
        c: info["features"][c]["shape"][0] for c in (OBSERVATION, ACTION)
    }
    dims |= {c: None for c in (REWARD, DONE, TERMINATED, TRUNCATED) if c in info["features"]}
    dims |= {"episode_index": None, "frame_index": None}
    images = _room_for_pictures(cameras, int(table.lengths[chosen].sum()))
    parts: list[dict[str, np.ndarray]] = []
    where = np.stack([table.chunk_index[chosen], table.file_index[chosen]], axis=1)
    for chunk_index, file_index in np.unique(where, axis=0):
        file = root / _data_path(root, info, int(chunk_index), int(file_index))
        inside = (where == (chunk_index, file_index)).all(axis=1)
        frames = read_parquet(file, [*dims, *cameras])
        wanted = pc.is_in(frames["episode_index"], pa.array(chosen[inside]))
        frames = frames.filter(wanted)
        columns = {
            name: decode_column(frames, name, dim, _dtype(name), file) for name, dim in dims.items()
        }
        _check_frames(columns, chosen[inside], table.lengths, file)
        parts.append(columns)
        if images is not None:
            rows, first = _final_rows(columns, chosen, table.lengths), 0
            for name, (channels, _, _) in cameras.items():
                into = images[:, first : first + channels]
                decode_pictures(frames[name], into, rows, f"{file}: {name}")
                first += channels
    columns = {name: np.concatenate([part[name] for part in parts]) for name in dims}
    return _in_order(columns, chosen, table.lengths), images


def _room_for_pictures(
    cameras: dict[str, tuple[int, int, int]], frames: int
) -> UInt8[np.ndarray, "M C H W"] | None:
    if not cameras:
        return None
    shapes = list(cameras.values())
    return np.empty((frames, sum(shape[0] for shape in shapes), *shapes[0][1:]), np.uint8)


def _final_rows(
    columns: dict[str, np.ndarray],
    chosen: Int64[np.ndarray, " n"],
    lengths: Int64[np.ndarray, " E"],
) -> Int64[np.ndarray, " m"]:
    """Where the frames of a file come to lie among all."""
    first = np.zeros(len(lengths), np.int64)
    first[chosen] = np.cumsum(lengths[chosen]) - lengths[chosen]
    return first[columns["episode_index"]] + columns["frame_index"]


def _dtype(column: str) -> type[np.generic]:
    if column in (DONE, TERMINATED, TRUNCATED):
        return np.bool_
    return np.int64 if column.endswith("_index") else np.float32


def _check_frames(
    columns: dict[str, np.ndarray],
    episodes: Int64[np.ndarray, " n"],
    lengths: Int64[np.ndarray, " E"],
    file: Path,
) -> None:
    """A file holds each of its episodes whole: frame_index 0 .. length - 1."""
    order = np.lexsort((columns["frame_index"], columns["episode_index"]))
    index, frame = columns["episode_index"][order], columns["frame_index"][order]
    for episode in np.sort(episodes):
        start, end = np.searchsorted(index, [episode, episode + 1])
        if end - start != lengths[episode]:
            raise ValueError(
                f"{file}: episode_index {episode} has {end - start} frames, "
                f"expected {lengths[episode]}, its length in {EPISODES_DIR}"
            )
        if not np.array_equal(frame[start:end], np.arange(end - start)):
            raise ValueError(
                f"{file}: frame_index of episode {episode} is {_shorten(frame[start:end])}, "
                f"expected 0 to {end - start - 1}"
            )


def _in_order(
    columns: dict[str, np.ndarray],
    chosen: Int64[np.ndarray, " n"],
    lengths: Int64[np.ndarray, " E"],
) -> dict[str, np.ndarray]:
    order = np.lexsort((columns["frame_index"], columns["episode_index"]))
    starts = np.searchsorted(columns["episode_index"], chosen, sorter=order)
    rows = order[frames_of(starts, lengths[chosen])]
    if np.array_equal(rows, np.arange(len(rows))):
        return columns  # as it is in every dataset written in one go: spare the copy
    return {name: column[rows] for name, column in columns.items()}


def _data_path(root: Path, info: dict[str, Any], chunk_index: int, file_index: int) -> str:
    template = info.get("data_path", DATA_PATH)
    try:
        return str(template.format(chunk_index=chunk_index, file_index=file_index))
    except (AttributeError, LookupError, ValueError) as error:
        raise ValueError(
            f"{root / INFO_PATH}: data_path is {template!r}, expected a template like {DATA_PATH!r}"
        ) from error


def _read_task(root: Path) -> str:
    """The task's words are the pandas index of the table: `task`, or nameless in older files."""
    file = root / TASKS_PATH
    table = read_parquet(file, None)
    for name in ("task", "__index_level_0__"):
        if name in table.column_names:
            return "; ".join(str(task) for task in table[name].to_pylist())
    raise ValueError(f"{file}: has no column 'task', only: {', '.join(table.column_names)}")


def _names(info: dict[str, Any], column: str) -> tuple[str, ...] | None:
    """Some datasets group names ({"motors": [...]}), or give one for all dimensions: not ours."""
    feature = info["features"][column]
    names = feature.get("names")
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    if not isinstance(names, list) or len(names) != feature["shape"][0]:
        return None
    return tuple(str(name) for name in names)


def _shorten(values: np.ndarray) -> str:
    return np.array2string(values, threshold=8, edgeitems=3)
