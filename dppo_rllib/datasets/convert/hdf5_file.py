"""Open an HDF5 file; what is wrong is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from numpy import ndarray

_INSTALL = 'pip install "dppo_rllib[hdf5]"'


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """The file, `h5py.File`, to be read.

    Raises:
        FileNotFoundError: It is missing.
        ImportError: h5py is.
        ValueError: It is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, expected an HDF5 file")
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"h5py cannot be imported ({error}); {_INSTALL}") from error
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path}: is no readable HDF5 file ({error})") from error
    with opened as content:
        yield content


def read_rows(array: Any, first: int, last: int | None, where: str) -> Shaped[ndarray, "n ..."]:
    """Some rows of an array of an open file.

    Raises:
        ValueError: The file is damaged there.
    """
    try:
        return array[first:last]
    except OSError as error:
        raise ValueError(f"{where}: cannot be read ({error})") from error
