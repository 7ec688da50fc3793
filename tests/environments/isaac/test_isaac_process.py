"""The link to the sidecar: what is asked and answered, and how either end goes."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from fake_furniture import CRASH, HANG, RAISE, SLOW, WRONG_SHAPE, FakeFurniture
from named_fakes import fake

from dppo_rllib.environments.furniture.isaac import process as process_module
from dppo_rllib.environments.furniture.isaac import sidecar
from dppo_rllib.environments.furniture.isaac.process import SidecarError, Timeouts


def begin(process, seed=None, rows=True):
    process.arrays["reset_mask"][:] = rows
    process.reset(seed)


def ask(process, y):
    """A step that asks copy 1 of `Faulty` to fail somehow."""
    process.arrays["actions"][1, 1] = y
    process.step()


def twin(task, num_envs=3):
    """The same fake without a sidecar."""
    keys = [*(f"robot_state/{key}" for key in sidecar.ROBOT_STATE), "parts_poses"]
    settings = (keys, True, "rot_6d", "pos", "diffik", 1000, 200, 1, 1, False, True)
    return FakeFurniture("low", task, num_envs, 700, *settings)


@pytest.mark.parametrize("task", sidecar.PARTS)
def test_what_the_simulator_shows_arrives_to_the_bit(task, python, launch):
    process, local = launch(python, task=task), twin(task)
    np.random.seed(7)
    obs = local.reset()
    begin(process, seed=7)
    for name, value in obs.items():
        np.testing.assert_array_equal(process.arrays[name], value)
    for actions in np.random.default_rng(0).uniform(-1, 1, (80, 3, 10)).astype(np.float32):
        obs, rewards, done, _ = local.step(actions)
        process.arrays["actions"][:] = actions
        process.step()
        shown = {**obs, "rewards": rewards[:, 0], "assembled": done[:, 0], "actions": actions}
        for name, value in shown.items():
            np.testing.assert_array_equal(process.arrays[name], value)
    assert process.arrays["assembled"].any()


def test_single_copies_are_reset(python, launch):
    process = launch(python)
    begin(process)
    before = process.arrays["robot_state"].copy()
    begin(process, rows=[False, True, False])
    changed = (process.arrays["robot_state"] != before).any(axis=1)
    assert changed.tolist() == [False, True, False]


def test_tensors_of_pytorch_arrive_and_are_seeded(running, launch):
    process = launch(running, "fake_furniture_torch.py:TorchFurniture")
    begin(process, seed=3)
    robot = torch.randn(3, 14, generator=torch.Generator().manual_seed(3)).numpy()
    np.testing.assert_array_equal(process.arrays["robot_state"], robot)
    process.arrays["actions"][:] = 0.5
    process.step()
    expected = robot[:, :3] + (np.float32(0.5) - robot[:, :3]) / 2
    np.testing.assert_array_equal(process.arrays["robot_state"][:, :3], expected)
    begin(process, rows=[False, False, True])
    changed = (process.arrays["robot_state"][:, 4] != robot[:, 4]).tolist()
    assert changed == [False, False, True]


def test_what_the_simulator_says_is_logged(python, launch, caplog):
    with caplog.at_level(logging.INFO):
        process = launch(python)
        process.close()
    said = [record.getMessage() for record in caplog.records]
    version = sidecar_python(python)
    assert f"{process.pid}: building 3 copies of one_leg" in said  # its output
    assert f"{process.pid}: in Python {version}" in said  # and its errors
    assert any(line.startswith(f"simulator ready in Python {version}.") for line in said)


def sidecar_python(python):
    code = "import sys; print('{}.{}'.format(*sys.version_info))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True).stdout.strip()


def test_it_finds_its_own_packages_and_libraries(python, launch, monkeypatch, tmp_path):
    (tmp_path / "numpy.py").write_text("raise ImportError('of another Python')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/usr/lib/of-others")
    process = launch(python)
    variables = Path(f"/proc/{process.pid}/environ").read_text().split("\0")
    own = python.resolve().parents[1] / "lib"
    assert f"LD_LIBRARY_PATH={own}:/usr/lib/of-others" in variables
    assert "PYTHONPATH" not in {variable.partition("=")[0] for variable in variables}


def test_what_the_simulator_starts_does_not_hold_the_link(python, launch):
    process = launch(python, "StartsAnother")
    begin(process)
    os.kill(process.pid, signal.SIGKILL)
    start = time.monotonic()
    with pytest.raises(SidecarError, match=r"\(exit code -9\)"):
        process.step()
    assert time.monotonic() - start < 4


def test_closing_leaves_nothing_behind(python, launch, is_gone):
    names = set(os.listdir("/dev/shm"))
    files = len(os.listdir("/proc/self/fd"))
    process = launch(python)
    begin(process)
    assert set(os.listdir("/dev/shm")) <= names
    process.close()
    assert is_gone(process.pid) and process._process.returncode == 0
    assert len(os.listdir("/proc/self/fd")) == files
    process.close()


def test_a_crash_is_told_at_once_and_with_the_last_words(python, launch, is_gone):
    process = launch(python, "Faulty")
    begin(process)
    start = time.monotonic()
    with pytest.raises(SidecarError) as raised:
        ask(process, CRASH)
    assert time.monotonic() - start < 10  # long before any timeout
    message = str(raised.value)
    assert f"process {process.pid}: ended in STEP (exit code 13)" in message
    assert message.endswith("about to crash") and is_gone(process.pid)


def test_one_that_was_killed_is_told_too(python, launch, is_gone):
    process = launch(python)
    os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(SidecarError, match=r"\(exit code -9\)"):
        begin(process)
    assert is_gone(process.pid)


def test_one_that_hangs_is_killed(python, launch, is_gone):
    process = launch(python, "Faulty")
    begin(process)
    process._timeouts = Timeouts(60, 0.5, 60)
    with pytest.raises(SidecarError, match=r"no answer to STEP for 0\.5 s"):
        ask(process, HANG)
    assert is_gone(process.pid)


def test_one_that_is_stopped_gives_no_sign_of_life(python, launch, is_gone):
    process = launch(python)
    process._timeouts = Timeouts(60, 60, 1.0)  # starting may take longer
    os.kill(process.pid, signal.SIGSTOP)
    with pytest.raises(SidecarError, match="no sign of life for 1 s"):
        begin(process)
    assert is_gone(process.pid)


def test_one_that_is_slow_gives_signs_of_life(running, launch):
    process = launch(running, "Faulty", timeouts=Timeouts(60, 60, 4.0))
    begin(process)
    process._timeouts = Timeouts(60, 60, 2.5)
    ask(process, SLOW)  # 4 s


def test_what_it_raises_arrives_with_its_traceback(python, launch, is_gone):
    process = launch(python, "Faulty")
    begin(process)
    with pytest.raises(SidecarError) as raised:
        ask(process, RAISE)
    message = str(raised.value)
    assert "RuntimeError: PhysX is unhappy" in message and "fake_furniture.py" in message
    assert "Traceback" in message and is_gone(process.pid)


def test_other_shapes_than_agreed_are_refused(python, launch):
    process = launch(python, "Faulty")
    begin(process)
    with pytest.raises(SidecarError, match=r"robot_state: shape \(3, 1\), expected \(3, 14\)"):
        ask(process, WRONG_SHAPE)


def test_one_that_does_not_start_says_why(python, launch):
    with pytest.raises(SidecarError, match=r"(?s)simulator, process .* raised.*no GPU"):
        launch(python, "NeverStarts")


def test_the_sidecar_refuses_another_version(python, launch, monkeypatch):
    monkeypatch.setattr(sidecar, "PROTOCOL_VERSION", 2)
    with pytest.raises(SidecarError, match="protocol version 2, expected 1"):
        launch(python)


def test_the_sidecar_refuses_another_layout(python, launch, monkeypatch):
    other = {**sidecar.layout("one_leg", 3), "rewards": ["float64", [3]]}
    monkeypatch.setattr(sidecar, "layout", lambda task, num_envs: other)
    with pytest.raises(SidecarError, match=r"layout .*float64.*, expected "):
        launch(python)


@pytest.mark.parametrize("name, value", [("version", 99), ("layout", {})])
def test_a_sidecar_of_another_version_is_refused(
    name, value, python, launch, monkeypatch, tmp_path, is_gone
):
    built = {"version": 1, "layout": sidecar.layout("one_leg", 3), "python": "?", name: value}
    script = tmp_path / "sidecar.py"
    script.write_text(
        "import socket, struct, sys\n"
        "link = socket.socket(fileno=int(sys.argv[1]))\n"
        "link.recv(65536)\n"
        f"link.send(struct.pack('<BQ', 2, 1) + {json.dumps(built).encode()})\n"
        "link.recv(65536)\n"
    )
    monkeypatch.setattr(process_module, "_SCRIPT", script)
    with pytest.raises(SidecarError, match=f"has protocol {name} {value}, expected"):
        launch(python)


def test_a_lost_message_is_noticed(python, launch):
    process = launch(python)
    process._number += 1
    with pytest.raises(SidecarError, match="request 3 after 1: expected the next one"):
        begin(process)


def test_an_answer_that_nobody_waited_for_is_passed_over(python, launch):
    process = launch(python)
    begin(process, seed=1)
    # As Ctrl-C leaves it: asked, but the answer not awaited.
    process._number += 1
    process._socket.send(sidecar.HEADER.pack(sidecar.Kind.STEP, process._number))
    begin(process, seed=1)
    begin(process, seed=2)
    second = process.arrays["robot_state"].copy()
    begin(process, seed=2)
    np.testing.assert_array_equal(process.arrays["robot_state"], second)


# Starts a sidecar as `SidecarProcess` does, but imports no more than it must.
OWNER = """
import importlib.util, json, os, socket, subprocess, sys
python, script, environment, busy = sys.argv[1:]
spec = importlib.util.spec_from_file_location("sidecar", script)
sidecar = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sidecar)
table = sidecar.layout("one_leg", 3)
memory = os.memfd_create("owner")
os.ftruncate(memory, sidecar.memory_size(table))
arrays = sidecar.map_arrays(memory, table)
link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
files = (theirs.fileno(), memory)
process = subprocess.Popen([python, script, *map(str, files)], pass_fds=files, stdout=sys.stderr)
theirs.close()
order = dict(version=1, layout=table, task="one_leg", randomness="low", num_envs=3, seed=0)
order.update(max_env_steps=9, alive_every_s=0.2, environment=environment)
link.send(sidecar.HEADER.pack(sidecar.Kind.HELLO, 1) + json.dumps(order).encode())
while link.recv(sidecar.LARGEST)[0] != sidecar.Kind.READY:
    pass
if busy == "True":
    arrays["actions"][:, 1] = 0.25  # HANG
    link.send(sidecar.HEADER.pack(sidecar.Kind.STEP, 2))
    while link.recv(sidecar.LARGEST)[0] != sidecar.Kind.ALIVE:
        pass
print(process.pid, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize("busy", [False, True])
def test_it_stops_when_its_owner_has_died(busy, python):
    """Also in the midst of a step that never ends."""
    arguments = (str(python), sidecar.__file__, fake("Faulty"), str(busy))
    owner = subprocess.run(
        [sys.executable, "-c", OWNER, *arguments], stdout=subprocess.PIPE, timeout=60, check=True
    )
    pid = int(owner.stdout)
    for _ in range(200):
        if has_ended(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("it lives on")


def has_ended(pid):
    """Of an orphan nobody may collect the exit code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True
