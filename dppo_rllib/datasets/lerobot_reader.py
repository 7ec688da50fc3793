"""Read the LeRobot dataset format v3.0 (state data): ours, and what is on the Hub."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Int64, Shaped

from dppo_rllib.datasets.demonstrations import (
    Demonstrations,
    check_episode_indices,
    check_finite,
    frames_of,
)
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    CODEBASE_VERSION,
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
    path: str | Path, *, episodes: Sequence[int] | np.ndarray | None = None
) -> Demonstrations:
    """Read a LeRobot v3.0 dataset's states, actions, rewards and ends; images are left alone.

    Datasets of others may declare less than ours: without `next.reward` rewards are 0, without
    `next.terminated` the `next.done` of an episode's last frame is a termination, and without that
    the episode just stops. The words of several tasks are joined by "; ".

    Args:
        path: The dataset's directory.
        episodes: Read these only, in this order; None reads all. Only their files are opened.

    Raises:
        FileNotFoundError: The directory or a file of it is missing.
        ValueError: Anything else that is wrong, with the file, the field or column, the value
            found, and what was expected.
    """
    root = Path(path)
    info = _read_info(root)
    table = _read_episodes(root)
    if len(table.lengths) != info.get("total_episodes", len(table.lengths)):
        raise ValueError(
            f"{root / INFO_PATH}: total_episodes is {info['total_episodes']}, "
            f"expected {len(table.lengths)}, the rows of {EPISODES_DIR}"
        )
    everything = np.arange(len(table.lengths))
    chosen = everything if episodes is None else check_episode_indices(episodes, len(everything))
    columns = _read_frames(root, info, table, chosen)
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
    )
    demonstrations.validate()
    return demonstrations


def read_statistics(path: str | Path) -> Statistics:
    """The statistics of a whole dataset from `meta/stats.json`: column -> statistic -> array.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is not JSON.
    """
    content = _read_json(Path(path) / STATS_PATH)
    return {
        column: {key: np.atleast_1d(np.asarray(value)) for key, value in entries.items()}
        for column, entries in content.items()
    }


class _Episodes(NamedTuple):
    """meta/episodes, ordered by episode: a row each."""

    lengths: Int64[np.ndarray, " E"]
    chunk_index: Int64[np.ndarray, " E"]
    file_index: Int64[np.ndarray, " E"]


def _read_info(root: Path) -> dict[str, Any]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no directory, expected a LeRobot dataset")
    file = root / INFO_PATH
    info = _read_json(file)
    version = info.get("codebase_version")
    if version != CODEBASE_VERSION:
        hint = ""
        if isinstance(version, str) and version.startswith(("v1.", "v2.")):
            hint = "; LeRobot's own scripts convert older datasets to v3.0"
        raise ValueError(
            f"{file}: codebase_version is {version!r}, expected {CODEBASE_VERSION!r}{hint}"
        )
    for field, kind in (("fps", (int, float)), ("features", dict)):
        if not isinstance(info.get(field), kind):
            expected = "a number" if field == "fps" else "an object"
            raise ValueError(f"{file}: {field} is {info.get(field)!r}, expected {expected}")
    for column in (OBSERVATION, ACTION):
        shape = info["features"].get(column, {}).get("shape")
        if shape is None:
            found = ", ".join(sorted(info["features"]))
            raise ValueError(f"{file}: features has no {column!r} with a shape, only: {found}")
        if len(shape) != 1:
            raise ValueError(f"{file}: {column} has shape {shape}, expected one dimension")
    return info


def _read_episodes(root: Path) -> _Episodes:
    files = sorted((root / EPISODES_DIR).glob("*/*.parquet"))
    if not files:
        raise FileNotFoundError(
            f"{root / EPISODES_DIR} holds no chunk-*/file-*.parquet, expected at least one"
        )
    names = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    parts = []
    for file in files:
        table = _read_parquet(file, names)
        parts.append(np.stack([_decode(table, name, None, np.int64, file) for name in names]))
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
    root: Path, info: dict[str, Any], table: _Episodes, chosen: Int64[np.ndarray, " n"]
) -> dict[str, np.ndarray]:
    """The columns of the chosen episodes, episode after episode in that order."""
    dims: dict[str, int | None] = {
        c: info["features"][c]["shape"][0] for c in (OBSERVATION, ACTION)
    }
    dims |= {c: None for c in (REWARD, DONE, TERMINATED, TRUNCATED) if c in info["features"]}
    dims |= {"episode_index": None, "frame_index": None}
    parts: list[dict[str, np.ndarray]] = []
    where = np.stack([table.chunk_index[chosen], table.file_index[chosen]], axis=1)
    for chunk_index, file_index in np.unique(where, axis=0):
        file = root / _data_path(root, info, int(chunk_index), int(file_index))
        inside = (where == (chunk_index, file_index)).all(axis=1)
        frames = _read_parquet(file, list(dims))
        wanted = pc.is_in(frames["episode_index"], pa.array(chosen[inside]))
        frames = frames.filter(wanted)
        columns = {
            name: _decode(frames, name, dim, _dtype(name), file) for name, dim in dims.items()
        }
        _check_frames(columns, chosen[inside], table.lengths, file)
        parts.append(columns)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in dims}
    return _in_order(columns, chosen, table.lengths)


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
    table = _read_parquet(file, None)
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


def _read_json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, expected in every LeRobot dataset")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: is a {type(content).__name__}, expected a JSON object")
    return content


def _read_parquet(file: Path, columns: list[str] | None) -> pa.Table:
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, expected by the dataset's metadata")
    try:
        with pq.ParquetFile(file, memory_map=True, page_checksum_verification=True) as parquet:
            present = parquet.schema_arrow.names
            missing = [name for name in columns or () if name not in present]
            if missing:
                raise ValueError(
                    f"{file}: has no column {missing[0]!r}, only: {', '.join(present)}"
                )
            return parquet.read(columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: is no readable Parquet file ({error})") from error


def _decode(
    table: pa.Table, name: str, dim: int | None, dtype: type[np.generic], file: Path
) -> Shaped[np.ndarray, "..."]:
    """A column as `[M, dim]` (lists, or scalars where dim is 1), or `[M]` where dim is None."""
    column = pa.chunked_array(table[name]).combine_chunks()
    if column.null_count:
        row = int(pc.index(pc.is_null(column), True).as_py())
        raise ValueError(f"{file}: {name}[{row}] is null, expected a value")
    if pa.types.is_nested(column.type):
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        expected = 1 if dim is None else dim
        if any(length != expected for length in lengths):
            wrong = next(length for length in lengths if length != expected)
            raise ValueError(f"{file}: {name} has {wrong} values a frame, expected {expected}")
        column = column.flatten()
    elif dim not in (None, 1):
        raise ValueError(f"{file}: {name} has 1 value a frame, expected {dim}")
    try:
        values = column.to_numpy(zero_copy_only=False).astype(dtype)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ValueError(f"{file}: {name} is {column.type}, expected {dtype.__name__}") from error
    values = values if dim is None else values.reshape(-1, dim)
    if dtype is np.float32:
        check_finite(values, f"{file}: {name}")
    return values


def _shorten(values: np.ndarray) -> str:
    return np.array2string(values, threshold=8, edgeitems=3)
