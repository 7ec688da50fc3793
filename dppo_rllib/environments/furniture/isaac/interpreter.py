"""Which Python runs IsaacGym, and what to say where there is none."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

VARIABLE = "DPPO_ISAACGYM_PYTHON"

_NEEDED = """\
{reason}
The simulator of the Furniture-Bench tasks is NVIDIA's IsaacGym in a Python 3.8 of its own, with
  - IsaacGym Preview 4, a download from NVIDIA (no package index has it),
  - the fork that the DPPO authors use, https://github.com/ankile/furniture-bench: the package
    furniture-bench of PyPI (0.1) is the original and has no FurnitureRLSimEnv,
  - numpy below 1.24 and PyTorch with CUDA.
docs/furniture-isaacgym.md shows how to install them; {variable} then names that Python.
MuJoCo needs none of that: it runs what is named without @isaacgym."""


def what_is_needed(reason: str) -> str:
    """A message that says what is missing, what is needed and what runs without."""
    return _NEEDED.format(reason=reason, variable=VARIABLE)


def find_python(python: str | os.PathLike[str] | None) -> Path:
    """The interpreter that runs the simulator.

    Args:
        python: A path, or a name on the search path; None takes `DPPO_ISAACGYM_PYTHON`.

    Raises:
        ImportError: There is none.
    """
    if sys.platform != "linux":
        raise ImportError(what_is_needed(f"IsaacGym runs on Linux only, this is {sys.platform}."))
    named = "python" if python is not None else VARIABLE
    given = os.fspath(python) if python is not None else os.environ.get(VARIABLE, "")
    if not given:
        raise ImportError(what_is_needed(f"{VARIABLE} is not set: no Python for IsaacGym."))
    found = shutil.which(os.path.expanduser(given))
    if found is None:
        raise ImportError(what_is_needed(f"{named}={given!r}: no such program."))
    return Path(found)
