"""Prints what the package depends on, with the extras that are named: a layer of its own."""

import sys
from pathlib import Path

import tomllib

project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]
named = " ".join(sys.argv[1:]).split()
print(*project["dependencies"], *(line for name in named for line in extras[name]), sep="\n")
