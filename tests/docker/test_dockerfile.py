"""The Dockerfile, without Docker: what linters say, and the script of every RUN outside of it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser
from stubs import ROOT, Stubs, shellcheck, tool

from dppo_rllib.environments.furniture.isaac.interpreter import VARIABLE

FILE = ROOT / "docker/Dockerfile"
WITH_ISAACGYM = ROOT / "docker/isaacgym.Dockerfile"
# Where scripts of a RUN write: in the tests these are below a temporary directory.
WRITTEN = ("/opt/dppo", "/results", "/wheels", "/var/lib/apt/lists")


def steps(file: Path = FILE) -> list[tuple[str, str]]:
    """All instructions, each with its value on one line."""
    parser = DockerfileParser(fileobj=io.BytesIO(file.read_bytes()))
    return [
        (step["instruction"], step["value"])
        for step in parser.structure
        if step["instruction"] != "COMMENT"
    ]


def of(instruction: str, file: Path = FILE) -> list[str]:
    return [value for name, value in steps(file) if name == instruction]


def script(value: str) -> str:
    """The shell script of a RUN, without Docker's own options."""
    return re.sub(r"^(--\S+\s+)+", "", value)


RUNS = [script(value) for value in of("RUN")]


def named(beginning: str) -> str:
    (found,) = (text for text in RUNS if text.startswith(beginning))
    return found


@pytest.mark.parametrize("file", [FILE, WITH_ISAACGYM], ids=lambda file: file.name)
def test_hadolint_finds_nothing(file):
    command = [tool("hadolint"), "--no-fail", "--format", "json", str(file)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == []


@pytest.mark.parametrize("text", RUNS + of("RUN", WITH_ISAACGYM), ids=lambda text: text[:24])
def test_shellcheck_finds_nothing(text):
    shellcheck(text + "\n", name=text, shell="sh")


def test_the_image_is_not_root_has_labels_and_a_health_check():
    names = [name for name, _ in steps()]
    assert of("USER") == ["1000:1000"] and "RUN" not in names[names.index("USER") :]
    labels = " ".join(of("LABEL"))
    for label in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
    (check,) = of("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command == ["dppo", "tasks"]


def test_versions_are_pinned():
    arguments = dict(value.split("=", 1) for value in of("ARG"))
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", arguments["PYTHON"])
    assert f'version = "{arguments["VERSION"]}"' in (ROOT / "pyproject.toml").read_text()
    for text in RUNS:
        for command in re.split(r"&&", text):
            if "pip install" in command:
                assert "--constraint constraints.txt" in command or "--no-deps" in command
                assert "--no-cache-dir" in command


def test_each_layer_changes_more_often_than_the_one_before():
    order = [value for name, value in steps() if name in ("RUN", "COPY")]

    def place(text: str) -> int:
        return next(i for i, value in enumerate(order) if text in value)

    assert (
        place("apt-get")
        < place("constraints.txt")
        < place("torch")
        < place("requirements.txt")
        < place("dppo_rllib")
    )


def copied() -> list[str]:
    return [
        source
        for value in of("COPY")
        if not value.startswith("--from")
        for source in value.split()[:-1]
    ]


def test_dockerignore_lets_in_what_is_copied_and_nothing_else():
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    assert admitted == set(copied())
    assert all((ROOT / path).exists() for path in admitted)


def default(argument: str) -> str:
    values = dict(value.split("=", 1) for value in of("ARG") if "=" in value)
    return values[argument].strip('"')


class Image:
    """A temporary directory in the place of an image's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stubs = Stubs(root / "stubs")
        for path in ("build", "etc", "home", "var/lib/apt/lists"):
            (root / path).mkdir(parents=True)
        (root / "var/lib/apt/lists/some").touch()
        for source in copied():
            target = self.root / "build" / source
            target.parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
            copy(ROOT / source, target)
        # `COPY docker/requirements.py … /build/` puts the file there itself.
        shutil.copy(ROOT / "docker/requirements.py", self.root / "build")
        self.stubs.add("python", script=f'exec {sys.executable} "$@"')

    def run(self, text: str, **env: str) -> subprocess.CompletedProcess[str]:
        for path in WRITTEN:
            text = re.sub(rf"(?<!\S){path}", f"{self.root}{path}", text)
        outside = [p for p in re.findall(r"(?<=\s)/[\w/.-]+", text) if str(self.root) not in p]
        assert set(outside) <= {"/bin/bash"}, f"{outside}: would be written on this machine"
        done = self.stubs.run("/bin/sh", "-ec", text, cwd=self.root / "build", **env)
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        return done


@pytest.fixture
def image(tmp_path) -> Image:
    return Image(tmp_path)


def test_system_packages_leave_no_lists_behind(image):
    image.stubs.add("apt-get")
    image.run(named("apt-get"))
    assert [call[1] for call in image.stubs.calls] == ["update", "install"]
    assert list((image.root / "var/lib/apt/lists").iterdir()) == []


def test_user_and_results(image):
    image.stubs.add("useradd", "install")
    image.run(named("useradd"))
    user, results = image.stubs.calls
    assert user[-1] == "dppo" and user[user.index("--uid") + 1] == "1000"
    assert results[-1] == f"{image.root}/results" and "dppo" in results


def test_dependencies_are_those_of_the_package(image):
    pytest.importorskip("tomllib")
    image.stubs.add("pip")
    image.run(named("python requirements.py"), EXTRAS=default("EXTRAS"))
    lines = (image.root / "build/requirements.txt").read_text().splitlines()
    assert {"torch>=2.4", "mujoco>=3.3,<3.10"} <= set(lines)
    assert any(line.startswith("ray[default]") for line in lines)
    assert not any(line.startswith("pytest") for line in lines)
    (pip,) = (call for call in image.stubs.calls if call[0] == "pip")
    assert pip[-2:] == ["--requirement", "requirements.txt"]


def test_every_set_of_extras_on_the_page_is_of_other_packages(image):
    """The package itself is not there yet, and is in no index."""
    pytest.importorskip("tomllib")
    page = (ROOT / "docker/README.md").read_text()
    for extras in re.findall(r'EXTRAS="(.+?)"', page):
        image.stubs.add("pip")
        image.run(named("python requirements.py"), EXTRAS=extras)
        requirements = (image.root / "build/requirements.txt").read_text()
        assert "mujoco-warp" in requirements and "dppo" not in requirements


@pytest.mark.parametrize("packages", [[], ["furniture-bench==0.1", "robosuite==1.5.2"]])
def test_packages_come_without_what_they_depend_on_where_that_is_said(image, packages):
    image.stubs.add("pip")
    image.run(named("echo"), WITHOUT_DEPENDENCIES=" ".join(packages))
    calls = [call for call in image.stubs.calls if call[0] == "pip"]
    assert [call[-len(packages) :] for call in calls] == ([packages] if packages else [])
    assert all("--no-deps" in call for call in calls)


def test_what_is_named_exists():
    """In the commands of the page: extras of the package, and files."""
    page = (ROOT / "docker/README.md").read_text()
    extras = {name for text in re.findall(r'EXTRAS="(.+?)"', page) for name in text.split()}
    project = (ROOT / "pyproject.toml").read_text()
    assert {"furniture-warp"} < extras
    assert all(re.search(rf"^{name} = \[", project, re.MULTILINE) for name in extras)
    assert all((ROOT / file).is_file() for file in re.findall(r"--file (\S+)", page))


def test_isaacgyms_own_python_is_where_the_package_looks_for_it():
    python = dict(value.split("=", 1) for value in of("ENV", WITH_ISAACGYM))[VARIABLE]
    installs = [text for text in of("RUN", WITH_ISAACGYM) if "uv pip install" in text]
    assert len(installs) == 2
    for text in installs:
        assert text.count("uv pip install") == text.count(f"--python {python}")
    # uv refuses the metadata of what the fork may ask for.
    (fork,) = [text for text in of("RUN", WITH_ISAACGYM) if "git clone" in text]
    assert f"{python} -m pip install" in fork
    assert of("USER", WITH_ISAACGYM)[-1] == "1000:1000"


def test_pytorch_comes_from_its_cpu_index_in_one_image_only():
    indices = ["--extra-index-url" in text for text in RUNS if text.endswith(" torch")]
    assert sorted(indices) == [False, True]


@pytest.mark.slow
def test_apt_has_the_packages(image):
    if shutil.which("apt-get") is None:
        pytest.skip("not a Debian")
    image.stubs.add("apt-get", script=f'exec {shutil.which("apt-get")} --simulate "$@"')
    text = named("apt-get").replace("apt-get update", "true")
    assert "Inst" in image.run(text).stdout or "already" in image.run(text).stdout


@pytest.mark.slow
def test_useradd_takes_its_options(image):
    useradd = shutil.which("useradd", path="/usr/sbin:/usr/bin")
    if useradd is None or os.geteuid() != 0:
        pytest.skip("needs useradd and root")
    for name in ("passwd", "group", "shadow", "gshadow"):
        (image.root / "etc" / name).touch()
    image.stubs.add("useradd", script=f'exec {useradd} --prefix {image.root} "$@"')
    image.stubs.add("install")  # there is no such user on this machine
    image.run(named("useradd"))
    assert "dppo:x:1000:1000:" in (image.root / "etc/passwd").read_text()
    assert (image.root / "home/dppo").is_dir()


@pytest.mark.slow
def test_pip_finds_every_version(image):
    """As a simulation: the index of PyTorch is left out, and so are gigabytes."""
    pytest.importorskip("tomllib")
    image.stubs.add("pip", script=f'exec {sys.executable} -m pip "$@" --dry-run --quiet')
    for text in RUNS:
        if "--constraint" in text:
            image.run(re.sub(r"--extra-index-url \S+", "", text))


@pytest.mark.slow
def test_the_package_is_built_and_installed(image):
    image.run(named("python -m venv"))
    image.stubs.add("pip", script=f'exec {image.root}/opt/dppo/bin/python -m pip "$@"')
    image.run(named("pip wheel"))
    image.run(named("pip install --no-cache-dir --no-deps"))
    shutil.copy(image.root / "build/clusters/start_or_resume.sh", image.root / "opt/dppo/bin")
    path = f"{image.root}/opt/dppo/bin:{os.environ['PATH']}"
    # What it depends on is borrowed from this environment.
    env = {**os.environ, "PATH": path, "PYTHONPATH": sysconfig.get_path("purelib")}
    (check,) = of("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    done = subprocess.run(
        command, env=env, cwd=image.root, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and "hopper-medium" in done.stdout, done.stderr
    usage = subprocess.run(["start_or_resume.sh"], env=env, capture_output=True, text=True)
    assert usage.returncode == 2 and "usage" in usage.stderr
