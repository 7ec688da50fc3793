"""Open the files of a LeRobot dataset; what is wrong with them is named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from jaxtyping import Shaped

from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    CODEBASE_VERSION,
    FILE_AN_EPISODE,
    INFO_PATH,
    OBSERVATION,
)


def read_info(root: Path) -> dict[str, Any]:
    """What a dataset's `info.json` says; version and the shapes of states and actions are checked.

    Raises:
        FileNotFoundError: The directory or the file is missing.
        ValueError: A field is not as it should be.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is no directory, expected a LeRobot dataset")
    file = root / INFO_PATH
    info = read_json(file)
    version = info.get("codebase_version")
    known = (*FILE_AN_EPISODE, CODEBASE_VERSION)
    if version not in known:
        hint = ""
        if isinstance(version, str) and version.startswith("v1."):
            hint = "; LeRobot's own scripts convert older datasets"
        raise ValueError(
            f"{file}: codebase_version is {version!r}, expected one of {list(known)}{hint}"
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


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is no JSON object.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, expected in every LeRobot dataset")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file}: is no JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{file}: is a {type(content).__name__}, expected a JSON object")
    return content


def read_json_lines(file: Path) -> list[dict[str, Any]]:
    """JSON objects, one a line.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: A line is no JSON object.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, expected in every LeRobot dataset of v2")
    rows = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{file}: line {number} is no JSON ({error})") from error
        if not isinstance(rows[-1], dict):
            raise ValueError(f"{file}: line {number} is {line!r}, expected a JSON object")
    return rows


@contextmanager
def open_parquet_file(file: Path, columns: list[str] | None) -> Iterator[pq.ParquetFile]:
    """A Parquet file that has these columns.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is damaged, or has no such column.
    """
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
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: is no readable Parquet file ({error})") from error


def read_parquet(file: Path, columns: list[str] | None) -> pa.Table:
    """Some columns of a table, or all.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is damaged, or has no such column.
    """
    with open_parquet_file(file, columns) as parquet:
        return parquet.read(columns=columns)


def decode_column(
    table: pa.Table,
    name: str,
    dim: int | None,
    dtype: type[np.generic],
    place: Callable[[int], str],
) -> Shaped[np.ndarray, "..."]:
    """A column as `[M, dim]` (lists, or scalars where dim is 1), or `[M]` where dim is None.

    Args:
        table: Holds it.
        name: Its name.
        dim: See above.
        dtype: Of the result.
        place: What to call a row in messages.

    Raises:
        ValueError: A value is missing, is no number or not finite, or there are more or fewer than
            `dim`.
    """
    column = pa.chunked_array(table[name]).combine_chunks()
    if not len(column):
        return np.empty(0 if dim is None else (0, dim), dtype)
    check_no_null(column, name, place)
    if pa.types.is_nested(column.type):
        expected = 1 if dim is None else dim
        lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
        if (lengths != expected).any():
            row = int(np.argmax(lengths != expected))
            raise ValueError(f"{place(row)}: {name} has {lengths[row]} values, expected {expected}")
        column = column.flatten()
    elif dim not in (None, 1):
        raise ValueError(f"{place(0)}: {name} has 1 value, expected {dim}")
    try:
        values = column.to_numpy(zero_copy_only=False).astype(dtype)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ValueError(
            f"{place(0)}: {name} is {column.type}, expected {dtype.__name__}"
        ) from error
    values = values if dim is None else values.reshape(-1, dim)
    if dtype is np.float32 and not np.isfinite(values).all():
        at = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        entry = "" if dim is None else f"[{at[1]}]"
        raise ValueError(f"{place(at[0])}: {name}{entry} is {values[at]}, expected a finite number")
    return values


def check_no_null(
    column: pa.Array | pa.ChunkedArray, name: str, place: Callable[[int], str]
) -> None:
    """Raise ValueError naming the first null of `column`, which is `name`."""
    if column.null_count:
        row = int(pc.index(pc.is_null(column), True).as_py())
        raise ValueError(f"{place(row)}: {name} is null, expected a value")


def row_of(where: Path | str) -> Callable[[int], str]:
    """Calls rows of a file by their number."""
    return lambda row: f"{where}: row {row}"


def shorten(values: np.ndarray) -> str:
    """Some numbers for a message."""
    return np.array2string(values, threshold=8, edgeitems=3)
