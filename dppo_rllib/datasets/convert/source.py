"""Which format a file or directory has is told by what is in it, not by its name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dppo_rllib.datasets.convert.d4rl import d4rl_episodes, is_d4rl
from dppo_rllib.datasets.convert.hdf5_file import open_hdf5
from dppo_rllib.datasets.convert.lerobot import is_lerobot, lerobot_episodes
from dppo_rllib.datasets.convert.minari import minari_directory, minari_episodes
from dppo_rllib.datasets.convert.npz_rows import open_npz
from dppo_rllib.datasets.convert.official import is_official, official_episodes
from dppo_rllib.datasets.convert.rllib import is_rllib, parquet_files, rllib_episodes
from dppo_rllib.datasets.convert.robomimic import drawn_robomimic_episodes, robomimic_episodes
from dppo_rllib.datasets.demonstrations import Demonstrations

_KNOWN = """expected one of:
- the authors' .npz: arrays states (or observations), actions, traj_lengths
- Robomimic's HDF5: a group data with the attribute env_args
- D4RL's HDF5: arrays actions and observations
- Minari: a directory with data/metadata.json
- RLlib's offline Parquet: columns obs and actions, or item
- LeRobot: a directory with meta/info.json"""


@dataclass(frozen=True)
class Format:
    """A format of others.

    Attributes:
        name: As people say it.
        read: Episodes of a source; keyword arguments are its options.
    """

    name: str
    read: Callable[..., Iterator[Demonstrations]]

    @property
    def options(self) -> dict[str, bool]:
        """Names of its options, and whether they must be given."""
        parameters = list(inspect.signature(self.read).parameters.values())[1:]
        return {p.name: p.default is inspect.Parameter.empty for p in parameters}


OFFICIAL = Format("the authors' npz", official_episodes)
ROBOMIMIC = Format("Robomimic's HDF5", robomimic_episodes)
DRAWN = Format("Robomimic's HDF5, drawn", drawn_robomimic_episodes)
D4RL = Format("D4RL's HDF5", d4rl_episodes)
MINARI = Format("Minari", minari_episodes)
LEROBOT = Format("LeRobot", lerobot_episodes)
RLLIB = Format("RLlib's offline Parquet", rllib_episodes)


def find_format(path: str | Path) -> Format:
    """The format of a file or directory.

    Raises:
        FileNotFoundError: There is none.
        ImportError: h5py is missing.
        ValueError: It has no known format, or is damaged.
    """
    source = Path(path)
    if not source.exists():
        raise FileNotFoundError(f"{source} is missing, expected a file or directory")
    if is_lerobot(source):
        return LEROBOT
    if minari_directory(source) is not None:
        return MINARI
    if source.is_dir():
        return _of_directory(source)
    with source.open("rb") as file:
        head = file.read(8)
    if head.startswith(b"PK"):
        with open_npz(source) as archive:
            if is_official(archive.names):
                return OFFICIAL
            raise _unknown(source, f"arrays {', '.join(sorted(archive.names)) or 'none'}")
    if head == b"\x89HDF\r\n\x1a\n":
        with open_hdf5(source) as content:
            if "data" in content and "env_args" in content["data"].attrs:
                return ROBOMIMIC
            if is_d4rl(content):
                return D4RL
            raise _unknown(source, f"HDF5 with {', '.join(content) or 'nothing'}")
    if head.startswith(b"PAR1"):
        return _of_parquet(source)
    raise _unknown(source, f"bytes that begin with {head!r}")


def _of_directory(source: Path) -> Format:
    try:
        files = parquet_files(source)
    except FileNotFoundError:
        names = sorted(entry.name for entry in source.iterdir())[:8]
        raise _unknown(source, f"a directory with {', '.join(names) or 'nothing'}") from None
    return _of_parquet(files[0])


def _of_parquet(file: Path) -> Format:
    try:
        columns = pq.read_schema(file).names
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: is no readable Parquet file ({error})") from error
    if not is_rllib(columns):
        raise _unknown(file, f"Parquet with columns {', '.join(columns)}")
    return RLLIB


def _unknown(source: Path, found: str) -> ValueError:
    return ValueError(f"{source}: is of no known format, it holds {found}; {_KNOWN}")


def read_episodes(path: str | Path, **options: Any) -> Iterator[Demonstrations]:
    """Episodes of a source of any known format.

    Args:
        path: The file or directory.
        options: Of the format's reader, as `d4rl_episodes`; None is left out.

    Raises:
        FileNotFoundError: There is no source.
        ImportError: A package that it needs is missing.
        ValueError: It has no known format, or an option is not the format's, or is missing.
    """
    found = find_format(path)
    given = {name: value for name, value in options.items() if value is not None}
    check_options(found, given, path)
    return found.read(path, **given)


def check_options(
    found: Format,
    given: dict[str, Any],
    path: str | Path,
    called: Callable[[str], str] = str,
) -> None:
    """Refuses options that a format does not have, and the lack of one that it needs.

    Args:
        found: The format.
        given: Options by name.
        path: Of the source.
        called: How the user calls an option.

    Raises:
        ValueError: Names the option.
    """
    for name in given:
        if name not in found.options:
            raise ValueError(
                f"{called(name)}: not an option of {found.name}, which {path} is; expected "
                f"{', '.join(map(called, found.options))}"
            )
    for name, needed in found.options.items():
        if needed and name not in given:
            raise ValueError(f"{called(name)}: missing; {path} ({found.name}) does not tell it")
