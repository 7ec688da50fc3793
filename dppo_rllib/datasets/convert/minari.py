"""Minari's datasets, stored as HDF5 or as Arrow files.

An episode has one observation more than it has actions: the last one. Of Arrow files the other
columns are filled up to as many rows.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Shaped, UInt8
from PIL import Image, UnidentifiedImageError

from dppo_rllib.datasets.convert.hdf5_file import open_hdf5, read_rows
from dppo_rllib.datasets.convert.one_episode import joined_observations, one_episode
from dppo_rllib.datasets.demonstrations import Demonstrations

_METADATA = "metadata.json"
_HDF5 = "main_data.hdf5"


def minari_episodes(
    path: str | Path,
    *,
    fps: float | int,
    task: str = "",
    observation: Sequence[str] = (),
    max_episodes: int | None = None,
) -> Iterator[Demonstrations]:
    """Read a dataset of Minari, in its HDF5 or its Arrow storage.

    Args:
        path: The dataset's directory, that which holds `data`; or `data` itself.
        fps: Environment steps per second, which Minari does not record.
        task: What is done, in words.
        observation: Of observations that are a dictionary, those that make ours, one after the
            other; deeper ones by their path, as `goal/kettle`. Pictures become those of a camera
            of that name.
        max_episodes: Take the first ones; None takes all.

    Yields:
        Episode by episode; no more than one is in memory.

    Raises:
        FileNotFoundError: A file is missing.
        ImportError: h5py is missing.
        ValueError: It is no such dataset, a name of `observation` is missing or none is given
            where it must be, or an episode's arrays do not fit each other.
    """
    data = minari_directory(Path(path))
    if data is None:
        raise FileNotFoundError(f"{path}: has no {_METADATA} in it or in data/, as Minari's have")
    space = _observation_space(data / _METADATA)
    episodes = _from_hdf5(data / _HDF5) if (data / _HDF5).is_file() else _from_arrow(data)
    for number, (where, columns) in enumerate(episodes):
        if number == max_episodes:
            return
        observed = _chosen(_leaves(columns["observations"]), observation, space, where)
        steps = {len(values) - 1 for values in observed.values()}
        if len(steps) != 1:
            lengths = {name: len(values) for name, values in observed.items()}
            raise ValueError(f"{where}: observations have {lengths} rows, expected equal ones")
        count = steps.pop()
        cut = {name: _values(_single(columns, name, where), where)[:count] for name in _FLAT}
        yield one_episode(
            where,
            **joined_observations({k: v[:-1] for k, v in observed.items()}, where),
            actions=cut["actions"],
            rewards=cut["rewards"],
            terminated=bool(cut["terminations"][-1:].any()),
            truncated=bool(cut["truncations"][-1:].any()),
            fps=fps,
            task=task,
        )


_FLAT = ("actions", "rewards", "terminations", "truncations")


def minari_directory(path: Path) -> Path | None:
    """The directory of a dataset's files; None where there is no dataset of Minari."""
    if path.is_file() and path.name == _HDF5:
        path = path.parent
    for data in (path / "data", path):
        if (data / _METADATA).is_file():
            return data
    return None


def _observation_space(file: Path) -> dict[str, Any]:
    """As Minari describes it; empty where it does not."""
    try:
        space = json.loads(file.read_text(encoding="utf-8")).get("observation_space") or "{}"
        space = json.loads(space) if isinstance(space, str) else space
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{file}: is no JSON of a dataset of Minari ({error})") from error
    return space if isinstance(space, dict) else {}


def _from_hdf5(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    with open_hdf5(file) as content:
        names = [name for name in content if name.startswith("episode_")]
        if not names:
            raise ValueError(f"{file}: holds no episode_0, …, expected at least one")
        for name in sorted(names, key=lambda name: int(name.removeprefix("episode_"))):
            group, where = content[name], f"{file}: {name}"
            _check_names(group, where)
            yield where, group


def _from_arrow(data: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    folders = [folder for folder in data.iterdir() if folder.name.isdecimal()]
    if not folders:
        raise ValueError(f"{data}: holds neither {_HDF5} nor directories 0, 1, … of Arrow files")
    for folder in sorted(folders, key=lambda folder: int(folder.name)):
        files = sorted(folder.glob("*.arrow"), key=_part_number)
        if not files:
            raise FileNotFoundError(f"{folder}: holds no .arrow file, expected at least one")
        try:
            table = pa.concat_tables([_read_arrow(file) for file in files])
        except pa.ArrowInvalid as error:
            raise ValueError(f"{folder}: its files have other columns each ({error})") from error
        _check_names(table.column_names, str(folder))
        columns = {name: table[name].combine_chunks() for name in table.column_names}
        yield str(folder), columns


def _read_arrow(file: Path) -> pa.Table:
    try:
        with pa.OSFile(str(file)) as source, pa.ipc.open_file(source) as reader:
            return reader.read_all()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: is no readable Arrow file ({error})") from error


def _part_number(file: Path) -> tuple[int, str]:
    """Of `part-<number>.arrow`, as pyarrow calls them: 2 before 10."""
    number = file.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0, file.name


def _check_names(present: Any, where: str) -> None:
    for name in ("observations", *_FLAT):
        if name not in present:
            raise ValueError(f"{where}: has no {name!r}, only: {', '.join(sorted(present))}")


def _leaves(node: Any, path: str = "") -> dict[str, Any]:
    """Arrays of a nested observation, by their path; a single one is at ""."""
    if isinstance(node, pa.StructArray):
        children = {field.name: node.field(i) for i, field in enumerate(node.type)}
    elif isinstance(node, Mapping):
        children = dict(node.items())
    else:
        return {path: node}
    return {
        name: leaf
        for key, child in children.items()
        for name, leaf in _leaves(child, f"{path}/{key}" if path else key).items()
    }


def _chosen(
    leaves: dict[str, Any], observation: Sequence[str], space: dict[str, Any], where: str
) -> dict[str, Shaped[np.ndarray, "T ..."]]:
    names = ", ".join(sorted(leaves))
    if list(leaves) == [""]:
        if observation:
            raise ValueError(
                f"{where}: observation is {list(observation)}, expected none: there is one array"
            )
        observation = [""]
    if not observation:
        raise ValueError(f"{where}: observations are of {names}; expected observation to name some")
    for name in observation:
        if name not in leaves:
            raise ValueError(f"{where}: observations have no {name!r}, only: {names}")
    return {
        name: _shaped(leaves[name], _box(space, name), f"{where}: {name or 'observations'}")
        for name in observation
    }


def _box(space: dict[str, Any], path: str) -> dict[str, Any]:
    """Of a nested space, what is said of an array; empty where nothing is."""
    for key in path.split("/") if path else ():
        inner = space.get("subspaces", {})
        index = key.removeprefix("_index_")
        if isinstance(inner, list):
            space = inner[int(index)] if index.isdecimal() and int(index) < len(inner) else {}
        else:
            space = inner.get(key, {})
    return space


def _shaped(leaf: Any, box: dict[str, Any], where: str) -> Shaped[np.ndarray, "T ..."]:
    """Rows of the shape of their space; pictures may be stored as JPEG files."""
    shape = tuple(box.get("shape") or ())
    values = _values(leaf, where)
    if box.get("dtype") != "uint8" or len(shape) != 3 or values.shape[1:] == shape:
        return values
    if values.dtype == np.uint8 and values[0].size == np.prod(shape):
        return values.reshape(-1, *shape)
    pictures = np.empty((len(values), *shape), np.uint8)
    for row, file in enumerate(values):
        pictures[row] = _decoded(bytes(file), shape, f"{where}[{row}]")
    return pictures


def _decoded(file: bytes, shape: tuple[int, ...], where: str) -> UInt8[np.ndarray, "H W C"]:
    try:
        with Image.open(io.BytesIO(file)) as image:
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{where} is no readable picture ({error})") from error
    if pixels.shape != shape:
        raise ValueError(f"{where} is a picture of {pixels.shape}, expected {shape}")
    return pixels


def _single(columns: Mapping[str, Any], name: str, where: str) -> Any:
    leaf = columns[name]
    if isinstance(leaf, (pa.StructArray, Mapping)):
        raise ValueError(f"{where}: {name} are of {', '.join(_leaves(leaf))}, expected one array")
    return leaf


def _values(leaf: Any, where: str) -> Shaped[np.ndarray, "T ..."]:
    if not isinstance(leaf, pa.Array):
        return np.asarray(read_rows(leaf, 0, None, where))
    if pa.types.is_fixed_size_list(leaf.type):
        return leaf.flatten().to_numpy(zero_copy_only=False).reshape(len(leaf), -1)
    return leaf.to_numpy(zero_copy_only=False)
