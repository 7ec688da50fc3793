"""Files of the user's own: Python that registers tasks, or holds a sweep."""

from __future__ import annotations

import importlib.util
import os
import sys
import zlib
from pathlib import Path
from types import ModuleType

_loaded: list[Path] = []


def loaded_files() -> list[Path]:
    """Files that were loaded, in order; what another process must load to know the same tasks."""
    return list(_loaded)


def load_tasks(path: str | os.PathLike[str]) -> None:
    """Runs a Python file that calls `register(Task(…))`; once, however often it is called.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a Python file.
    """
    load_file(path, "a Python file that registers tasks")
    file = Path(path).resolve()
    if file not in _loaded:
        _loaded.append(file)


def load_file(path: str | os.PathLike[str], expected: str) -> ModuleType:
    """Runs a Python file of the user's as a module; once, however often it is called.

    What it defines travels to Ray's processes by value: the file need not be importable there, so
    that it may hold classes and functions of its own.

    Args:
        path: The file.
        expected: What it should be, for messages.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a Python file.
    """
    file = Path(path).resolve()
    if not file.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected {expected}")
    # One name per file, and none that a real module could have.
    name = f"_dppo_{file.stem}_{zlib.crc32(str(file).encode()):08x}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    if file.suffix != ".py" or spec is None or spec.loader is None:
        raise ValueError(f"{path}: expected {expected}")
    import ray.cloudpickle

    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    ray.cloudpickle.register_pickle_by_value(module)
    return module
