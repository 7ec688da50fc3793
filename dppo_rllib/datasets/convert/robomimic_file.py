"""Robomimic's HDF5 files: their demonstrations, and whether these are of our environments."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Shaped

from dppo_rllib.datasets.convert.hdf5_file import read_rows

if TYPE_CHECKING:
    from dppo_rllib.environments.robomimic.manipulation import Manipulation

_INSTALL = 'pip install "dppo_rllib[robomimic]"'
_CONTROL_FREQ = 20
_OPPOSED = ("default", "opposed", "single-arm-opposed")
# Of a controller, what must be so; the later ones may be missing where they are robosuite's own.
_CONTROLLER = {
    "type": "OSC_POSE",
    "kp": 150,
    "output_max": [0.05] * 3 + [0.5] * 3,
    "output_min": [-0.05] * 3 + [-0.5] * 3,
}
_DEFAULTS = {
    "input_max": 1,
    "input_min": -1,
    "impedance_mode": "fixed",
    "uncouple_pos_ori": True,
    "interpolation": None,
    "position_limits": None,
    "orientation_limits": None,
}


@dataclass(frozen=True)
class Recording:
    """An open file.

    Attributes:
        path: Where it is.
        task: What was recorded.
        version: robosuite's, as the file tells it; "" if it does not.
        fps: Steps a second.
        demos: Groups of h5py.
        rewarded: Whether all of them have rewards.
    """

    path: Path
    task: Manipulation
    version: str
    fps: int
    demos: tuple[Any, ...]
    rewarded: bool

    def array(self, demo: Any, name: str, width: int | None) -> Shaped[np.ndarray, "T ..."]:
        """An array of a demonstration.

        Args:
            demo: One of `demos`.
            name: Its path therein.
            width: Its columns; None takes any shape.

        Raises:
            ValueError: It is missing or damaged, or has not as many rows as there are actions.
        """
        if name not in demo:
            group = demo.get(name.rpartition("/")[0] or ".", {})
            there = ", ".join(sorted(group)) or "nothing"
            raise ValueError(f"{self.path}: {demo.name} has no {name}, only: {there}")
        values = read_rows(demo[name], 0, None, f"{self.path}: {demo.name}/{name}")
        rows = len(demo["actions"]) if "actions" in demo else len(values)
        fits = len(values) == rows if width is None else values.shape == (rows, width)
        if not fits:
            expected = f"{rows} rows" if width is None else f"({rows}, {width})"
            raise ValueError(
                f"{self.path}: {demo.name}/{name} has shape {values.shape}, expected {expected}"
            )
        return values


@contextmanager
def open_recording(
    path: str | Path, *, filter_key: str | None, max_episodes: int | None
) -> Iterator[Recording]:
    """Opens a file of Robomimic.

    Args:
        path: The HDF5 file.
        filter_key: One of its masks, as "train"; None takes all demonstrations.
        max_episodes: Takes the first ones, by number; None takes all.

    Raises:
        FileNotFoundError: It is missing.
        ImportError: A package is.
        ValueError: It is no such file, or was recorded in another environment than ours.
    """
    file = Path(path)
    if max_episodes is not None and max_episodes < 1:
        raise ValueError(f"max_episodes={max_episodes}: expected at least 1")
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, expected an HDF5 file of Robomimic")
    try:
        import h5py

        import dppo_rllib.environments.robomimic.manipulation  # noqa: F401
    except ImportError as error:
        raise ImportError(f"{error.name} cannot be imported ({error}); {_INSTALL}") from error
    try:
        opened = h5py.File(file, "r")
    except OSError as error:
        raise ValueError(f"{file}: is no readable HDF5 file ({error})") from error
    with opened as content:
        env_args = _env_args(content, file)
        try:
            task = check_env_args(env_args)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        names = _demo_names(content, file, filter_key)[:max_episodes]
        demos = tuple(content["data"][name] for name in names)
        yield Recording(
            path=file,
            task=task,
            version=str(env_args.get("env_version", "")),
            fps=_CONTROL_FREQ,
            demos=demos,
            rewarded=all("rewards" in demo for demo in demos),
        )


def _env_args(content: Any, file: Path) -> Mapping[str, Any]:
    if "data" not in content or "env_args" not in content["data"].attrs:
        raise ValueError(f"{file}: has no group data with env_args, expected a file of Robomimic")
    text = content["data"].attrs["env_args"]
    try:
        env_args = json.loads(text)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: env_args is {text!r}, expected JSON") from error
    if not isinstance(env_args, dict):
        raise ValueError(f"{file}: env_args is {text!r}, expected an object")
    return env_args


def _demo_names(content: Any, file: Path, filter_key: str | None) -> list[str]:
    """By number: demo_2 before demo_10."""
    names = list(content["data"])
    if filter_key is not None:
        masks = content.get("mask", {})
        if filter_key not in masks:
            known = ", ".join(sorted(masks)) or "nothing"
            raise ValueError(f"{file}: mask has no {filter_key!r}, only: {known}")
        mask = read_rows(masks[filter_key], 0, None, f"{file}: mask/{filter_key}")
        chosen = [n.decode() if isinstance(n, bytes) else n for n in mask]
        if unknown := sorted(set(chosen) - set(names)):
            raise ValueError(f"{file}: mask/{filter_key} holds {unknown[0]}, which is not in data")
        names = chosen
    if not names:
        raise ValueError(f"{file}: holds no demonstrations, expected at least one")
    numbers = {name: name.rpartition("_")[2] for name in names}
    for name, number in numbers.items():
        if not number.isdecimal():
            raise ValueError(f"{file}: data has {name!r}, expected demo_0, demo_1, …")
    return sorted(names, key=lambda name: int(numbers[name]))


def check_env_args(env_args: Mapping[str, Any]) -> Manipulation:
    """The task that was recorded, if its environment is ours.

    Commands must be OSC_POSE's deltas as the environments of this package take them: along the
    axes of the world, 1 for 5 cm and for 0.5 rad, stiffness 150 critically damped, 20 a second,
    by Panda arms. Controllers may be described as by robosuite 1.4 or, under `body_parts`, as by
    1.5. Its commands along the axes of the robot's base ("base") are along those of the world
    where there is one arm; Transport's two face each other.

    Args:
        env_args: The attribute of that name.

    Raises:
        ValueError: Names the field, its value, and what was expected.
    """
    from dppo_rllib.environments.robomimic.manipulation import MANIPULATIONS

    tasks = {task.robosuite_name: task for task in MANIPULATIONS.values()}
    name = env_args.get("env_name")
    if name not in tasks:
        raise ValueError(f"env_args: env_name = {name!r}, expected one of {sorted(tasks)}")
    task, field = tasks[name], "env_kwargs"
    kwargs = env_args.get(field)
    if not isinstance(kwargs, Mapping):
        raise ValueError(f"env_args: {field} = {kwargs!r}, expected an object")
    robots = kwargs.get("robots")
    _expect(f"{field}.robots", [robots] if isinstance(robots, str) else robots, _pandas(task))
    _expect(f"{field}.control_freq", kwargs.get("control_freq"), _CONTROL_FREQ)
    placed = kwargs.get("env_configuration", "default")
    if task.robots > 1 and placed not in _OPPOSED:
        raise ValueError(
            f"env_args: {field}.env_configuration = {placed!r}, expected one of {list(_OPPOSED)}"
        )
    controllers = kwargs.get("controller_configs")
    for controller in controllers if isinstance(controllers, list) else [controllers]:
        _check_controller(controller, f"{field}.controller_configs", task)
    return task


def _pandas(task: Manipulation) -> list[str]:
    return ["Panda"] * task.robots


def _check_controller(controller: Any, field: str, task: Manipulation) -> None:
    frame = "world"  # robosuite 1.4 knew no other
    if isinstance(controller, Mapping) and "body_parts" in controller:
        field += ".body_parts.right"
        parts = controller["body_parts"]
        controller = parts.get("right") if isinstance(parts, Mapping) else None
        frame = "base"  # what robosuite 1.5 takes where none is given
    if not isinstance(controller, Mapping):
        raise ValueError(f"env_args: {field} = {controller!r}, expected an object")
    for key, expected in _CONTROLLER.items():
        _expect(f"{field}.{key}", controller.get(key), expected)
    for key, expected in _DEFAULTS.items():
        _expect(f"{field}.{key}", controller.get(key, expected), expected)
    damping = "damping_ratio" if "damping_ratio" in controller else "damping"
    _expect(f"{field}.{damping}", controller.get(damping), 1)
    _expect(f"{field}.control_delta", controller.get("control_delta", True), True)
    _expect(f"{field}.input_type", controller.get("input_type", "delta"), "delta")
    frame = controller.get("input_ref_frame", frame)
    if task.robots > 1 or frame != "base":
        _expect(f"{field}.input_ref_frame", frame, "world")


def _expect(field: str, found: Any, expected: Any) -> None:
    """Numbers may be given once for all axes, as robosuite allows."""
    if isinstance(expected, list) and isinstance(found, (int, float)):
        equal = all(found == value for value in expected)
    else:
        equal = found == expected
    if not equal:
        raise ValueError(f"env_args: {field} = {found!r}, expected {expected!r}")
