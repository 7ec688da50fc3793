"""The simulator's end of the link, run by the Python 3.8 that IsaacGym needs.

It knows the standard library, NumPy, and PyTorch for the simulator's tensors; nothing of this
package, which Python 3.8 cannot import. The other end starts it as a script, and imports it for
what both must agree on.

The arrays of `layout` lie in memory that both processes map. A Unix socket carries short messages,
one datagram each: `HEADER`, which is a kind and the number of the request, and a payload. The other
end asks: HELLO, then RESET and STEP, numbered from 1. Each is answered by READY, DONE or ERROR, and
until then by ALIVE every few seconds. Who finds the other end gone stops.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import importlib.util
import json
import mmap
import os
import platform
import random
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np

# Of the messages, the arrays and what they mean; whoever changes one of these counts it up.
PROTOCOL_VERSION = 1

FURNITURE_ENV = "furniture_bench.envs.furniture_rl_sim_env:FurnitureRLSimEnv"
ROBOT_STATE = ("ee_pos", "ee_quat", "ee_pos_vel", "ee_ori_vel", "gripper_width")
PARTS = {"one_leg": 5, "lamp": 3, "round_table": 3}

HEADER = struct.Struct("<BQ")
SEED = struct.Struct("<I")
LARGEST = 65536  # bytes of a message
_ALIGNMENT = 64  # bytes; of the arrays


class Kind(enum.IntEnum):
    """What a message says."""

    HELLO = 1  # JSON: what to build
    READY = 2  # JSON: what was built
    RESET = 3  # begin episodes where `reset_mask` says so; a `SEED` or nothing
    STEP = 4  # execute `actions`
    DONE = 5  # the arrays hold what came of it
    ERROR = 6  # JSON: the traceback, and whether something is not installed; then it stops
    ALIVE = 7  # still at it


def layout(task: str, num_envs: int) -> dict[str, Any]:
    """Type and shape of the shared arrays by name, in their order in memory.

    Poses are positions and quaternions (x, y, z, w), those of the parts and of the obstacle.
    """
    return {
        "actions": ["float32", [num_envs, 10]],
        "reset_mask": ["bool", [num_envs]],
        "robot_state": ["float32", [num_envs, 14]],
        "parts_poses": ["float32", [num_envs, 7 * (PARTS[task] + 1)]],
        "rewards": ["float32", [num_envs]],
        "assembled": ["bool", [num_envs]],
    }


def _spans(table: dict[str, Any]) -> dict[str, Any]:
    """First byte and end of each array."""
    spans, end = {}, 0
    for name, (dtype, shape) in table.items():
        start = -(-end // _ALIGNMENT) * _ALIGNMENT
        end = start + np.dtype(dtype).itemsize * int(np.prod(shape))
        spans[name] = (start, end)
    return spans


def memory_size(table: dict[str, Any]) -> int:
    """Bytes that the arrays of a layout take."""
    return max(end for _, end in _spans(table).values())


def map_arrays(memory: int, table: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a layout in a file, whose descriptor may be closed then."""
    mapped = mmap.mmap(memory, memory_size(table))
    spans = _spans(table)
    return {
        name: np.ndarray(shape, dtype, buffer=mapped, offset=spans[name][0])
        for name, (dtype, shape) in table.items()
    }


class Link:
    """This end of the socket.

    Args:
        file: Its descriptor.
    """

    def __init__(self, file: int):
        self._socket = socket.socket(fileno=file)
        self._number = 0
        self._busy = False

    def request(self) -> tuple[int, bytes] | None:
        """The next request, kind and payload; None when the other end has gone.

        Raises:
            ValueError: A message was lost.
        """
        try:
            message = self._socket.recv(LARGEST)
        except ConnectionError:
            return None
        if not message:
            return None
        kind, number = HEADER.unpack_from(message)
        if number != self._number + 1:
            raise ValueError(f"request {number} after {self._number}: expected the next one")
        self._number, self._busy = number, True
        return kind, message[HEADER.size :]

    def answer(self, kind: int, payload: bytes = b"") -> None:
        """Answers the request."""
        self._busy = False
        self._socket.send(HEADER.pack(kind, self._number) + payload)

    def say_alive(self, every_s: float) -> None:
        """Says so from now on, in a thread, while a request is worked on."""
        threading.Thread(target=self._say_alive, args=(every_s,), daemon=True).start()

    def _say_alive(self, every_s: float) -> None:
        while True:
            time.sleep(every_s)
            if self._busy:
                try:
                    self._socket.send(HEADER.pack(Kind.ALIVE, self._number))
                except OSError:  # nobody waits for what the simulator is at
                    os._exit(1)


class TorchTensors:
    """What the simulator takes and returns are tensors of PyTorch."""

    def __init__(self) -> None:
        import torch  # IsaacGym refuses to be imported after it

        self._torch = torch

    def seed(self, seed: int) -> None:
        """Seeds the generators of all devices."""
        self._torch.manual_seed(seed)

    def give(self, array: np.ndarray, device: Any) -> Any:
        """A tensor of its own with what the array holds."""
        return self._torch.from_numpy(array).to(device, copy=True)

    def take(self, tensor: Any, array: np.ndarray) -> None:
        """Copies a tensor, from whatever device, into an array of the same shape."""
        self._torch.from_numpy(array).copy_(tensor)


class NumpyArrays:
    """They are arrays: so for an environment with a true attribute `takes_numpy`."""

    def seed(self, seed: int) -> None:
        """Does nothing: NumPy's generator is seeded anyway."""

    def give(self, array: np.ndarray, device: Any) -> np.ndarray:
        """A copy."""
        return array.copy()

    def take(self, value: np.ndarray, array: np.ndarray) -> None:
        """Copies a value into an array of the same shape."""
        array[...] = value


class Simulator:
    """The environment of the fork between the shared arrays.

    Args:
        order: The HELLO.
        arrays: Those of its layout.

    Raises:
        ImportError: Something is not installed.
    """

    def __init__(self, order: dict[str, Any], arrays: dict[str, np.ndarray]):
        make = load(order["environment"])
        self._tensors = NumpyArrays() if getattr(make, "takes_numpy", False) else TorchTensors()
        self._arrays = arrays
        self._seed(order["seed"])
        self._env = make(
            furniture=order["task"],
            num_envs=order["num_envs"],
            randomness=order["randomness"],
            max_env_steps=order["max_env_steps"],
            obs_keys=[*(f"robot_state/{key}" for key in ROBOT_STATE), "parts_poses"],
            concat_robot_state=True,
            act_rot_repr="rot_6d",
            action_type="pos",
            ctrl_mode="diffik",
            stiffness=1000,
            damping=200,
            pos_scalar=1,
            rot_scalar=1,
            april_tags=False,
            headless=True,
        )
        self._device = getattr(self._env, "device", None)

    def reset(self, seed: int | None) -> None:
        """Begins episodes.

        The fork advances the others too while it does, by 1/60 s, with a lamp by 11 of these.
        """
        if seed is not None:
            self._seed(seed)
        mask = self._arrays["reset_mask"]
        if mask.all():
            obs = self._env.reset()
        else:
            rows = np.flatnonzero(mask).astype(np.int32)
            obs = self._env.reset(self._tensors.give(rows, self._device))
        self._show(obs)

    def step(self) -> None:
        """Executes an action in all."""
        actions = self._tensors.give(self._arrays["actions"], self._device)
        obs, rewards, assembled, _ = self._env.step(actions)
        self._show(obs)
        self._take("rewards", rewards.reshape(-1))
        self._take("assembled", assembled.reshape(-1))

    def _show(self, obs: dict[str, Any]) -> None:
        for name in ("robot_state", "parts_poses"):
            self._take(name, obs[name])

    def _take(self, name: str, value: Any) -> None:
        array = self._arrays[name]
        if tuple(value.shape) != array.shape:
            raise ValueError(f"{name}: shape {tuple(value.shape)}, expected {array.shape}")
        self._tensors.take(value, array)

    def _seed(self, seed: int) -> None:
        random.seed(seed)
        np.random.seed(seed)
        self._tensors.seed(seed)


def load(environment: str) -> Any:
    """The class of `"module:Class"`, or of `"path/to/file.py:Class"`, which may import neighbours.

    Raises:
        ImportError: There is none.
    """
    place, _, name = environment.rpartition(":")
    if place.endswith(".py"):
        spec = importlib.util.spec_from_file_location("dppo_isaacgym_environment", place)
        if spec is None or spec.loader is None or not os.path.isfile(place):
            raise ImportError(f"{place}: no such file")
        sys.path.insert(0, os.path.dirname(os.path.abspath(place)))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        module = importlib.import_module(place)
    if not hasattr(module, name):
        raise ImportError(f"{module.__file__} has no {name}")
    return getattr(module, name)


def serve(link: Link, memory: int) -> None:
    """Answers requests until the other end has gone.

    Raises:
        ValueError: The other end speaks another version of the protocol, or lost a message.
        ImportError: Something is not installed.
    """
    first = link.request()
    if first is None:
        return
    order = json.loads(first[1].decode())
    if order["version"] != PROTOCOL_VERSION:
        raise ValueError(f"protocol version {order['version']}, expected {PROTOCOL_VERSION}")
    table = layout(order["task"], order["num_envs"])
    if order["layout"] != table:
        raise ValueError(f"layout {order['layout']}, expected {table}")
    link.say_alive(order["alive_every_s"])
    simulator = Simulator(order, map_arrays(memory, table))
    built = {"version": PROTOCOL_VERSION, "layout": table, "python": platform.python_version()}
    link.answer(Kind.READY, json.dumps(built).encode())
    request = link.request()
    while request is not None:
        kind, payload = request
        if kind == Kind.STEP:
            simulator.step()
        elif kind == Kind.RESET:
            simulator.reset(SEED.unpack(payload)[0] if payload else None)
        else:
            raise ValueError(f"request of kind {kind}: expected {Kind.STEP} or {Kind.RESET}")
        link.answer(Kind.DONE)
        request = link.request()


def main() -> None:
    """Serves the socket and the memory whose descriptors are the arguments."""
    link, memory = Link(int(sys.argv[1])), int(sys.argv[2])
    for file in sys.argv[1:]:
        os.set_inheritable(int(file), False)  # what the simulator starts must not hold the link
    del sys.path[0]  # the folder of this script, whose other files are for another Python
    try:
        serve(link, memory)
    except BaseException as error:  # libraries end the process, too
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        # A character takes up to six bytes in JSON.
        report = {"text": text[-LARGEST // 8 :], "missing": isinstance(error, ImportError)}
        with contextlib.suppress(OSError):
            link.answer(Kind.ERROR, json.dumps(report).encode())
        sys.exit(1)


if __name__ == "__main__":
    main()
