"""The sidecar as a process: started, asked, and ended when it fails."""

from __future__ import annotations

import collections
import json
import logging
import os
import socket
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from dppo_rllib.environments.furniture.isaac import sidecar
from dppo_rllib.environments.furniture.isaac.interpreter import what_is_needed
from dppo_rllib.environments.furniture.isaac.sidecar import HEADER, Kind

logger = logging.getLogger(__name__)

_SCRIPT = Path(sidecar.__file__)
# Lead another Python into the packages of this one.
_OF_THIS_PYTHON = ("PYTHONPATH", "PYTHONHOME")
_REMEMBERED_LINES = 30
_CLOSING_S = 10.0


class SidecarError(RuntimeError):
    """The simulator has failed: it crashed, hung, or raised; its process has ended."""


@dataclass(frozen=True)
class Order:
    """What the simulator is to be.

    Attributes:
        task: "one_leg", "lamp" or "round_table".
        randomness: "low" or "med".
        num_envs: `N`.
        max_env_steps: Steps of an episode, of which the fork does not make use to end it.
        environment: Its class, as `"module:Class"` or `"path/to/file.py:Class"`.
    """

    task: str
    randomness: str
    num_envs: int
    max_env_steps: int
    environment: str = sidecar.FURNITURE_ENV


@dataclass(frozen=True)
class Timeouts:
    """After how many seconds a simulator is taken to hang.

    Attributes:
        start_s: To build it; the first import of IsaacGym compiles for minutes.
        answer_s: To execute one step or reset.
        silence_s: Without any sign of life, of which there is one every few seconds.
    """

    start_s: float = 900.0
    answer_s: float = 60.0
    silence_s: float = 120.0


class SidecarProcess:
    """A simulator in a process of another Python.

    Args:
        python: That Python.
        order: What to build.
        seed: Of its random numbers, below 2^32.
        timeouts: When it hangs.

    Attributes:
        arrays: Those of `sidecar.layout`, which both processes share: each request overwrites them.
            None are left after the end.

    Raises:
        ImportError: IsaacGym or the fork is not installed there.
        SidecarError: It failed otherwise, or has another version of the protocol.
    """

    def __init__(self, python: Path, order: Order, seed: int, timeouts: Timeouts):
        table = sidecar.layout(order.task, order.num_envs)
        self._timeouts = timeouts
        self._number = 0
        self._answer = bytearray(sidecar.LARGEST)
        self._lines: collections.deque[str] = collections.deque(maxlen=_REMEMBERED_LINES)
        # Memory without a name: nothing is left behind, however a process ends.
        memory = os.memfd_create("dppo_isaacgym")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            os.ftruncate(memory, sidecar.memory_size(table))
            self.arrays: dict[str, np.ndarray] = sidecar.map_arrays(memory, table)
            self._process = _spawn(python, theirs.fileno(), memory)
        finally:
            os.close(memory)
            theirs.close()
        self._log = threading.Thread(target=self._forward, args=(self._process.stdout,))
        self._log.daemon = True
        self._log.start()
        self._hello(table, {**asdict(order), "seed": seed})

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def reset(self, seed: int | None) -> None:
        """Begins episodes where `arrays["reset_mask"]` says so.

        Raises:
            SidecarError: It failed.
        """
        payload = b"" if seed is None else sidecar.SEED.pack(seed)
        self._ask(Kind.RESET, payload, self._timeouts.answer_s)

    def step(self) -> None:
        """Executes `arrays["actions"]`.

        Raises:
            SidecarError: It failed.
        """
        self._ask(Kind.STEP, b"", self._timeouts.answer_s)

    def close(self) -> None:
        """Ends the process; again is no error."""
        self._end(_CLOSING_S)

    def _hello(self, table: dict[str, Any], order: dict[str, Any]) -> None:
        order["version"], order["layout"] = sidecar.PROTOCOL_VERSION, table
        order["alive_every_s"] = min(5.0, self._timeouts.silence_s / 4)
        try:
            answer = self._ask(Kind.HELLO, json.dumps(order).encode(), self._timeouts.start_s)
        except BaseException:
            self._end(0)
            raise
        built = json.loads(answer)
        for name in ("version", "layout"):
            if built[name] != order[name]:
                raise self._failure(
                    f"has protocol {name} {built[name]}, expected {order[name]} of {_SCRIPT}"
                )
        logger.info("simulator ready in Python %s, process %d", built["python"], self.pid)

    def _ask(self, kind: Kind, payload: bytes, timeout_s: float) -> bytes:
        self._number += 1
        try:
            self._socket.send(HEADER.pack(kind, self._number) + payload)
        except ConnectionError:
            raise self._failure(f"cannot be asked to {kind.name}") from None
        answered, answer = self._wait(kind, timeout_s)
        if answered is Kind.ERROR:
            report = json.loads(answer)
            if report["missing"] and kind is Kind.HELLO:
                self._end(0)
                raise ImportError(what_is_needed(report["text"]))
            raise self._failure(f"raised\n{report['text']}")
        return answer

    def _wait(self, kind: Kind, timeout_s: float) -> tuple[Kind, bytes]:
        now = time.monotonic()
        last = now + timeout_s
        while True:
            patience = min(last - now, self._timeouts.silence_s)
            self._socket.settimeout(max(patience, 1e-3))
            try:
                size = self._socket.recv_into(self._answer)
            except TimeoutError:
                silent = patience == self._timeouts.silence_s
                what = "no sign of life" if silent else f"no answer to {kind.name}"
                waited = self._timeouts.silence_s if silent else timeout_s
                raise self._failure(f"{what} for {waited:g} s") from None
            except ConnectionError:
                size = 0
            if size == 0:
                raise self._failure(f"ended in {kind.name}")
            answered, number = HEADER.unpack_from(self._answer)
            # An interrupted request may have left its answer behind.
            current = number == self._number and answered != Kind.ALIVE
            if current or answered == Kind.ERROR:
                return Kind(answered), bytes(self._answer[HEADER.size : size])
            now = time.monotonic()

    def _failure(self, what: str) -> SidecarError:
        """Ends the process; says how it was and what it said last."""
        self._end(0.2)  # one that has crashed has a moment to leave its exit code
        said = "\n".join(["", "It said last:", *self._lines]) if self._lines else ""
        code = self._process.returncode
        return SidecarError(f"simulator, process {self.pid}: {what} (exit code {code}){said}")

    def _end(self, patience_s: float) -> None:
        self._socket.close()  # which asks it to stop
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.join(1)
        self.arrays = {}  # which frees the memory

    def _forward(self, output: IO[bytes]) -> None:
        with output:
            for line in output:
                text = line.decode(errors="replace").rstrip()
                self._lines.append(text)
                logger.info("%d: %s", self.pid, text)


def _spawn(python: Path, link: int, memory: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [python, "-u", _SCRIPT, str(link), str(memory)],
            pass_fds=(link, memory),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_surroundings(python),
            start_new_session=True,  # Ctrl-C is for this process, which ends that one
        )
    except OSError as error:
        raise ImportError(what_is_needed(f"{python}: cannot be run ({error}).")) from error


def _surroundings(python: Path) -> dict[str, str]:
    """Environment variables for another Python."""
    variables = {k: v for k, v in os.environ.items() if k not in _OF_THIS_PYTHON}
    # IsaacGym looks for the library of its Python, which Conda does not have on the path.
    paths = [str(python.resolve().parents[1] / "lib"), variables.get("LD_LIBRARY_PATH", "")]
    variables["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, paths))
    return variables
