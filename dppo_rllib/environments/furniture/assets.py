"""Where the meshes of Furniture-Bench and of its Panda are."""

from __future__ import annotations

import importlib.util
from pathlib import Path

INSTALL = "pip install --no-deps furniture-bench==0.1"
_PANDA = "franka_description_ros/franka_description"


def assets_directory() -> Path:
    """The folder `assets` of the installed package `furniture_bench`, which is not imported.

    Raises:
        ImportError: The package is not installed.
        FileNotFoundError: It has no such folder.
    """
    found = importlib.util.find_spec("furniture_bench")
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"furniture_bench is not installed; its meshes are needed: {INSTALL}")
    folder = Path(found.submodule_search_locations[0]) / "assets"
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: expected the assets of furniture-bench 0.1; {INSTALL}")
    return folder


def part_mesh(name: str) -> Path:
    """The mesh of a part, such as "square_table/square_table_top"."""
    return assets_directory() / "furniture" / "mesh" / f"{name}.obj"


def panda_urdf() -> Path:
    """The description of the Panda."""
    return assets_directory() / _PANDA / "robots" / "franka_panda.urdf"


def panda_mesh(uri: str) -> Path:
    """A file that the description names as `package://franka_description/…`."""
    return assets_directory() / _PANDA / uri.removeprefix("package://franka_description/")
