"""Arrays of an npz read some rows at a time: it may be larger than memory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

_DAMAGE = (ValueError, OSError, EOFError, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True)
class Npz:
    """An open npz.

    Attributes:
        path: Where it is.
        content: The archive.
        names: Of its arrays.
    """

    path: Path
    content: zipfile.ZipFile
    names: set[str]


@contextmanager
def open_npz(path: Path) -> Iterator[Npz]:
    """Opens an npz.

    Raises:
        FileNotFoundError: It is missing.
        ValueError: It is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, expected an npz")
    try:
        content = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise ValueError(f"{path}: is no readable npz of plain arrays ({error})") from error
    with content:
        members = content.namelist()
        yield Npz(path, content, {n.removesuffix(".npy") for n in members if n.endswith(".npy")})


def read_array(archive: Npz, name: str) -> Shaped[np.ndarray, "..."]:
    """A whole array.

    Raises:
        ValueError: It is missing, or cannot be read.
    """
    reader = RowReader(archive, name)
    return reader.take(reader.shape[0]) if reader.shape else reader.take(1)


class RowReader:
    """An array, from its first row to its last.

    Attributes:
        shape: Of the whole.
        dtype: Of the whole.
    """

    def __init__(self, archive: Npz, name: str) -> None:
        """Reads its header.

        Raises:
            ValueError: It is missing, or no plain array with its rows one after the other.
        """
        self._where = f"{archive.path}: {name}"
        if name not in archive.names:
            found = ", ".join(sorted(archive.names))
            raise ValueError(f"{archive.path}: has no array {name!r}, only: {found}")
        try:
            self._file = archive.content.open(f"{name}.npy")
            self.shape, columns_first, self.dtype = _header(self._file)
        except _DAMAGE as error:
            raise self._broken(error) from error
        if self.dtype.hasobject:
            raise self._broken("it holds objects")
        if columns_first and len(self.shape) > 1:
            raise ValueError(f"{self._where}: is in Fortran's order, expected numpy's own, 'C'")

    def take(self, rows: int) -> Shaped[np.ndarray, "n ..."]:
        """The next so many rows.

        Raises:
            ValueError: The file ends before, or is damaged.
        """
        shape = (rows, *self.shape[1:])
        size = int(np.prod(shape)) * self.dtype.itemsize
        try:
            content = self._file.read(size)
        except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
            raise self._broken(error) from error
        if len(content) < size:
            raise self._broken(f"it ends {size - len(content)} bytes too early")
        return np.frombuffer(content, self.dtype).reshape(shape)

    def _broken(self, why: object) -> ValueError:
        path, _, name = self._where.rpartition(": ")
        return ValueError(f"{path}: is no readable npz of plain arrays ({name}: {why})")


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise ValueError(f"version {version} of its header, expected 1.0 or 2.0")
    return read[version](file)
