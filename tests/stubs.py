"""Commands that write down how they were called, for scripts that must not run for real."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


class Stubs:
    """A directory of commands that comes first on the PATH.

    Attributes:
        calls: What was called so far, each a list of words.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "calls"
        folder.mkdir(parents=True)

    def add(self, *names: str, script: str = "") -> None:
        """A command each; `script` is what it does besides."""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            words = f'printf "%s\\0" {shlex.quote(name)} "$@" >>{self.log}; echo >>{self.log}'
            path.write_text(f"#!/bin/bash\n{words}\n{script}\n")
            path.chmod(0o755)

    @property
    def calls(self) -> list[list[str]]:
        if not self.log.exists():
            return []
        return [line.rstrip("\0").split("\0") for line in self.log.read_text().splitlines()]

    def run(
        self, *command: str | Path, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        path = f"{self.folder}:{os.environ['PATH']}"
        return subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "PATH": path, **env},
            capture_output=True,
            text=True,
            timeout=240,
        )


def tool(name: str) -> str:
    """A command of the environment that runs the tests."""
    return str(Path(sys.executable).parent / name)


def shellcheck(script: str, *, name: str, shell: str = "bash") -> None:
    result = subprocess.run(
        [tool("shellcheck"), "--shell", shell, "--severity", "style", "-"],
        input=script,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, f"{name}:\n{result.stdout}{result.stderr}"
