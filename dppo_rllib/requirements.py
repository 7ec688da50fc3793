"""What must be installed besides dppo_rllib itself, in which versions, and by which command."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

import packaging.requirements


@dataclass(frozen=True)
class Requirement:
    """What a task or its simulator needs.

    Attributes:
        module: Module that is importable once it is installed.
        extra: Extra of dppo_rllib that installs it.
        package: Package of its own that does, where there is no extra.
        options: Of `pip install`, for that.

    Raises:
        ValueError: Neither or both of extra and package are given.
    """

    module: str
    extra: str | None = None
    package: str | None = None
    options: str = ""

    def __post_init__(self) -> None:
        if (self.extra is None) == (self.package is None):
            raise ValueError(
                f"extra={self.extra!r}, package={self.package!r}: expected one of them"
            )

    @property
    def command(self) -> str:
        """What installs it."""
        name = self.package or f"dppo_rllib[{self.extra}]"
        return " ".join(filter(None, ("pip install", self.options, f'"{name}"')))

    @property
    def unmet(self) -> str | None:
        """What installs it, and what is there in a version that does not fit; None if it is met."""
        if importlib.util.find_spec(self.module) is None:
            return self.command
        wrong = [text for wanted in self._distributions() if (text := _misfit(wanted))]
        return f"{self.command}  # {', '.join(wrong)}" if wrong else None

    def _distributions(self) -> Iterable[packaging.requirements.Requirement]:
        if self.package is not None:
            return [packaging.requirements.Requirement(self.package)]
        assert self.extra is not None
        return _of_extra(self.extra)


def require(requirements: Iterable[Requirement]) -> None:
    """Refuses to go on without.

    Raises:
        ImportError: One of them is unmet.
    """
    if unmet := [text for one in requirements if (text := one.unmet)]:
        raise ImportError(f"install first: {'; '.join(unmet)}")


@functools.cache
def _of_extra(extra: str) -> list[packaging.requirements.Requirement]:
    """What pyproject.toml says that an extra needs."""
    try:
        lines = metadata.requires("dppo_rllib") or []
    except metadata.PackageNotFoundError:  # the sources alone are there
        return []
    wanted = [packaging.requirements.Requirement(line) for line in lines]
    return [one for one in wanted if one.marker and one.marker.evaluate({"extra": extra})]


def _misfit(wanted: packaging.requirements.Requirement) -> str | None:
    """Which version is there, if it does not fit. What is not there at all, the module says."""
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return None
    if wanted.specifier.contains(found, prereleases=True):
        return None
    return f"{wanted.name} {found} is installed, expected {wanted.specifier}"
