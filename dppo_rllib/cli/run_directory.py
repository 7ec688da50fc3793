"""The directory of a run, here or in an object store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dppo_rllib.checkpoints import StoragePath
from dppo_rllib.checkpoints.storage import files_below

RUN_FILE, METRICS = "run.json", "metrics.csv"
_NEEDED_AGAIN = (RUN_FILE, METRICS, "before.mp4")


class RunDirectory:
    """Where a run keeps its files.

    Checkpoints and Tune's files go to `path` directly, from whichever machine writes them. What
    the command itself writes goes to `local`: the same directory or, of one that is remote, a
    copy of it on this machine, whose files are sent there.

    Args:
        path: The directory.

    Attributes:
        path: The directory.
        local: Where the command writes.
    """

    def __init__(self, path: StoragePath):
        self.path = path
        self._sent: dict[str, int] = {}
        if path.is_local:
            self.local = path.local
        else:
            self._scratch = tempfile.TemporaryDirectory(prefix="dppo-")
            self.local = Path(self._scratch.name)

    def __str__(self) -> str:
        return str(self.path)

    @classmethod
    def new(cls, address: str) -> RunDirectory:
        """A run that has not begun; nothing is written.

        Raises:
            ValueError: The storage cannot be reached, or there is no such bucket.
            FileExistsError: The directory is in use.
        """
        path = StoragePath.of(address)
        if not path.is_local and "/" not in path.path.strip("/"):
            raise ValueError(f"--output {address}: expected a folder within the bucket")
        try:
            if bucket := path.missing_bucket():
                raise ValueError(f"--output {address}: no bucket {bucket}; create it first")
            if path.is_file() or path.files() or path.folders():
                raise FileExistsError(
                    f"--output {address}: exists already; expected a new directory (to go on with "
                    "an interrupted run use --resume)"
                )
        except FileExistsError:
            raise
        except OSError as error:
            raise ValueError(f"--output {address}: cannot be reached ({error})") from error
        return cls(path)

    @classmethod
    def of(cls, address: str) -> RunDirectory:
        """A run that has begun, maybe on another machine.

        Raises:
            ValueError: The storage cannot be reached.
            FileNotFoundError: There is no run.
        """
        run = cls(StoragePath.of(address))
        try:
            if not (run.path / RUN_FILE).is_file():
                raise FileNotFoundError(
                    f"--resume {address}: expected the output directory of an earlier run"
                )
            if not run.path.is_local:
                for name in _NEEDED_AGAIN:
                    if (run.path / name).is_file():
                        (run.local / name).write_bytes((run.path / name).read_bytes())
        except FileNotFoundError:
            raise
        except OSError as error:
            raise ValueError(f"--resume {address}: cannot be read ({error})") from error
        return run

    def send(self) -> None:
        """Sends what has changed in `local` to a remote `path`.

        Raises:
            OSError: It cannot be written.
        """
        if self.path.is_local:
            return
        for name, file in files_below(self.local):
            changed = file.stat().st_mtime_ns
            if self._sent.get(name) != changed:
                (self.path / name).copy_from(file)
                self._sent[name] = changed
