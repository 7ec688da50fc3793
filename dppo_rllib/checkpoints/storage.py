"""Paths on this machine, on a shared file system or in an object store: what pyarrow.fs reaches."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import pyarrow.fs

_BUCKETS = ("s3", "gcs", "abfs")  # file systems whose first folder must exist beforehand


@dataclass(frozen=True)
class StoragePath(os.PathLike[str]):
    """A file or a folder.

    An operation raises OSError where the storage cannot be reached or does not allow it.

    Attributes:
        filesystem: Where it is.
        path: What it is called there.
        address: What users call it, without options: a path, or a URI.
        options: Of the URI, such as `region=eu-west-1` or `endpoint_override=…`.
    """

    filesystem: pyarrow.fs.FileSystem
    path: str
    address: str
    options: str = ""

    @classmethod
    def of(cls, address: str | os.PathLike[str]) -> StoragePath:
        """From a path on this machine, or a URI that `pyarrow.fs.FileSystem.from_uri` takes.

        Raises:
            ValueError: The scheme is unknown, or the URI holds a password.
        """
        if isinstance(address, StoragePath):
            return address
        text = os.fspath(address)
        if "://" not in text:
            local = str(Path(text).expanduser().absolute())
            return cls(pyarrow.fs.LocalFileSystem(), local, local)
        parts = urlsplit(text)
        if parts.password is not None:
            shown = text.replace(f"{parts.username}:{parts.password}@", "")
            raise ValueError(
                f"{shown}: keys in an address would be written into files; expected them in the "
                "environment (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, …)"
            )
        try:
            filesystem, path = pyarrow.fs.FileSystem.from_uri(text)
        except (ValueError, OSError, NotImplementedError, TypeError) as error:
            raise ValueError(
                f"{text}: no storage that can be used ({error}); expected a path, or a URI such as "
                "s3://bucket/run, gs://bucket/run or file:///folder/run"
            ) from error
        path = path.rstrip("/") or path
        if isinstance(filesystem, pyarrow.fs.LocalFileSystem):
            return cls(filesystem, path, path)
        return cls(filesystem, path, text.partition("?")[0].rstrip("/"), parts.query)

    def __str__(self) -> str:
        return f"{self.address}?{self.options}" if self.options else self.address

    def __fspath__(self) -> str:
        return str(self)

    def __truediv__(self, name: str) -> StoragePath:
        ending = name if self.is_local else quote(name)
        return StoragePath(
            self.filesystem,
            posixpath.join(self.path, name),
            posixpath.join(self.address, ending),
            self.options,
        )

    @property
    def name(self) -> str:
        """Its last part."""
        return posixpath.basename(self.path)

    @property
    def parent(self) -> StoragePath:
        """The folder it is in."""
        return StoragePath(
            self.filesystem,
            posixpath.dirname(self.path),
            posixpath.dirname(self.address),
            self.options,
        )

    @property
    def is_local(self) -> bool:
        """It is on this machine, or looks so."""
        return isinstance(self.filesystem, pyarrow.fs.LocalFileSystem)

    @property
    def local(self) -> Path:
        """A path that is local."""
        assert self.is_local, self
        return Path(self.path)

    def is_file(self) -> bool:
        """There is a file of this name."""
        return bool(self.filesystem.get_file_info(self.path).is_file)

    def exists(self) -> bool:
        """There is a file or a folder of this name."""
        found = self.filesystem.get_file_info(self.path).type
        return bool(found != pyarrow.fs.FileType.NotFound)

    def folders(self) -> list[StoragePath]:
        """Folders in this one, by name; none if there is no such folder."""
        return self._children(pyarrow.fs.FileType.Directory)

    def files(self) -> list[StoragePath]:
        """Files in this folder, by name; none if there is no such folder."""
        return self._children(pyarrow.fs.FileType.File)

    def _children(self, kind: pyarrow.fs.FileType) -> list[StoragePath]:
        selector = pyarrow.fs.FileSelector(self.path, allow_not_found=True)
        found = self.filesystem.get_file_info(selector)
        return [self / name for name in sorted(i.base_name for i in found if i.type == kind)]

    def read_bytes(self) -> bytes:
        """All of a file."""
        with self.filesystem.open_input_stream(self.path) as stream:
            return bytes(stream.readall())

    def copy_from(self, file: Path) -> None:
        """Makes this a copy of a file of this machine; in an object store at once as a whole."""
        self.filesystem.create_dir(posixpath.dirname(self.path))
        pyarrow.fs.copy_files(
            str(file),
            self.path,
            destination_filesystem=self.filesystem,
            use_threads=False,  # uploads to S3 from several threads can hang (apache/arrow#32372)
        )

    def missing_bucket(self) -> str | None:
        """The bucket it should be in, if there is none of that name."""
        if self.filesystem.type_name not in _BUCKETS:
            return None
        bucket = self.path.partition("/")[0]
        found = self.filesystem.get_file_info(bucket).type
        return bucket if found == pyarrow.fs.FileType.NotFound else None


def files_below(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files of a folder of this machine with their names relative to it, descriptions last.

    What reads a directory looks for its JSON first: a copy in this order is whole when that is
    there.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (path.suffix == ".json", str(path))):
        yield path.relative_to(folder).as_posix(), path
