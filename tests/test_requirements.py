"""What must be installed, and in which version."""

from __future__ import annotations

from importlib import metadata

import pytest

from dppo_rllib.requirements import Requirement, require

ROBOSUITE = Requirement(package="robosuite==1.5.2", options="--no-deps", module="json")
ROBOMIMIC = Requirement(extra="robomimic", module="json")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch):
    """Makes it look as if exactly these distributions were installed."""

    def install(**versions: str) -> None:
        def version(name: str) -> str:
            if name not in versions:
                raise metadata.PackageNotFoundError(name)
            return versions[name]

        monkeypatch.setattr(metadata, "version", version)

    return install


def test_what_is_there_in_the_right_version_is_met(installed) -> None:
    installed(mujoco="3.9.0", numba="0.61.2", robosuite="1.5.2")
    assert ROBOMIMIC.unmet is None and ROBOSUITE.unmet is None
    require([ROBOMIMIC, ROBOSUITE])


def test_a_module_whose_version_nobody_knows_is_taken_as_it_is(installed) -> None:
    installed()
    assert ROBOMIMIC.unmet is None and ROBOSUITE.unmet is None


def test_versions_are_compared_with_those_of_the_extra_or_package(installed) -> None:
    installed(mujoco="3.10.0", robosuite="1.5.1")
    assert ROBOMIMIC.unmet is not None and ROBOSUITE.unmet is not None
    command, _, why = ROBOMIMIC.unmet.partition("  # ")
    assert command == ROBOMIMIC.command == 'pip install "dppo_rllib[robomimic]"'
    assert why.startswith("mujoco 3.10.0 is installed, expected ") and "<3.10" in why
    assert ROBOSUITE.unmet == (
        'pip install --no-deps "robosuite==1.5.2"  # robosuite 1.5.1 is installed, expected ==1.5.2'
    )
    with pytest.raises(ImportError, match=r"install first: .*mujoco 3\.10.*robosuite 1\.5\.1"):
        require([ROBOMIMIC, ROBOSUITE])
