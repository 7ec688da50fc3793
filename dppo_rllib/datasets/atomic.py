"""Write a directory or a file as one: it appears whole, or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_directory(target: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A directory to write into, that becomes `target` when the block ends without an exception.

    It lies beside the target (a rename must not cross file systems) under a hidden name, is
    flushed to the disk, and is renamed. After an exception it is removed; a killed writer leaves
    only the hidden one.

    Args:
        target: Where the directory shall be; its parents are created.
        overwrite: Whether an existing `target` may be replaced. It stays until the new one is
            complete.

    Raises:
        FileExistsError: `target` exists and `overwrite` is false.
    """
    if os.path.lexists(target) and not overwrite:
        raise FileExistsError(f"{target} exists already, expected a new path (or overwrite=True)")
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.tmp-", dir=target.parent))
    try:
        new = scratch / "new"
        new.mkdir()  # mkdtemp itself is private to the user; this one obeys the umask
        yield new
        _flush_tree(new)
        if overwrite and os.path.lexists(target):
            target.rename(scratch / "old")
            try:
                new.rename(target)
            except BaseException:
                (scratch / "old").rename(target)
                raise
        else:
            new.rename(target)  # fails where somebody else was faster, as it should
        _flush(target.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file; an earlier one stays until the new one is complete."""
    descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.tmp-", dir=path.parent)
    try:
        with open(descriptor, "w") as file:
            file.write(text)
        # mkstemp's files are private to the user.
        os.chmod(scratch, 0o644)
        _flush(Path(scratch))
        os.replace(scratch, path)
    except BaseException:
        os.unlink(scratch)
        raise


def _flush_tree(directory: Path) -> None:
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            _flush(Path(folder, name))
        _flush(Path(folder))


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows has no handle to a directory
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
