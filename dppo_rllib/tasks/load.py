"""Tasks of one's own: a Python file that registers them."""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from pathlib import Path

_loaded: list[Path] = []


def loaded_files() -> list[Path]:
    """Files that were loaded, in order; what another process must load to know the same tasks."""
    return list(_loaded)


def load_tasks(path: str | os.PathLike[str]) -> None:
    """Runs a Python file that calls `register(Task(…))`; once, however often it is called.

    What it defines travels to Ray's processes by value: the file need not be importable there, so
    that a task may name an environment class of its own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a Python file.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected a Python file that registers tasks"
        )
    # One name per file, and none that a real module could have.
    name = f"_dppo_tasks_{file.stem}_{zlib.crc32(str(file).encode()):08x}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if file.suffix != ".py" or spec is None or spec.loader is None:
        raise ValueError(f"{path}: expected a Python file that registers tasks")
    import ray.cloudpickle

    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    ray.cloudpickle.register_pickle_by_value(module)
    _loaded.append(file)
