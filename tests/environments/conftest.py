import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dppo_rllib.environments import make_chunked_env

GOLDEN = Path(__file__).parents[1] / "golden"
DRAW = """
import gymnasium
env = gymnasium.make("Hopper-v5", render_mode="rgb_array", width=64, height=48)
env.reset()
env.render()
env.close()
"""


@pytest.fixture(scope="session")
def opengl():
    """Skips where there is none; a driver that crashes must not take the tests along."""
    try_it = (
        "import mujoco; from dppo_rllib.environments.cameras import Cameras; "
        'model = mujoco.MjModel.from_xml_string(\'<mujoco><worldbody><camera name="eye"/>'
        '<geom pos="0 0 -3" group="1" size="1 .5 .5" type="box"/>'
        "</worldbody></mujoco>'); Cameras(model, ('eye',), (8, 8)).close()"
    )
    done = subprocess.run([sys.executable, "-c", try_it], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no OpenGL: {(done.stderr.splitlines() or ['it crashed'])[-1]}")


@pytest.fixture
def golden():
    with np.load(GOLDEN / "golden.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("ms/")}


@pytest.fixture
def official_npz():
    return GOLDEN / "official_checkpoint" / "normalization.npz"


@pytest.fixture
def closing():
    """Closes at the end what it is called with."""
    envs = []

    def keep(env):
        envs.append(env)
        return env

    yield keep
    for env in envs:
        env.close()


@pytest.fixture
def make_serial(closing):
    def make(env, num_envs=1, *, act_steps=3, cond_steps=2, **kwargs):
        return closing(
            make_chunked_env(env, num_envs, act_steps=act_steps, cond_steps=cond_steps, **kwargs)
        )

    return make


@pytest.fixture(params=["sync", "async"])
def make(request, make_serial):
    """`make_chunked_env` in both vectorizations, in chunks of 3 with histories of 2."""

    def make(env, num_envs=1, **kwargs):
        return make_serial(env, num_envs, vectorization=request.param, **kwargs)

    return make


@pytest.fixture
def with_opengl():
    """Runs a script in a process that can draw; skips where there is none.

    A driver that crashes must not take the tests along. Whether one can draw tells Gymnasium's
    environment, not what is tested.
    """

    def run(script, *arguments):
        command = [sys.executable, "-c", script, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    for backend in ("egl", "osmesa"):
        environment = {**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": backend}
        if run(DRAW).returncode == 0:
            return run
    pytest.skip("no OpenGL")
