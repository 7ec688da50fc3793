"""MuJoCo, or one sentence that says why it cannot be imported.

Importing MuJoCo loads the OpenGL library that `MUJOCO_GL` names, whether or not anything is drawn.
"""

from __future__ import annotations

import os

from dppo_rllib.errors import UserError

OPENGL_BACKENDS = ("egl", "osmesa", "glfw")
OPENGL_NEEDED = (
    "off-screen rendering needs EGL (apt-get install libegl1) or OSMesa (apt-get install "
    "libosmesa6); the environment variable MUJOCO_GL chooses one of " + ", ".join(OPENGL_BACKENDS)
)

try:
    import mujoco
    from mujoco.rollout import Rollout
except (AttributeError, RuntimeError) as error:
    # PyOpenGL looks for functions in a library that is not there, or MuJoCo knows no such name.
    raise UserError(
        f"MUJOCO_GL={os.environ.get('MUJOCO_GL')}: MuJoCo cannot be imported ({error}); "
        + OPENGL_NEEDED
    ) from error

__all__ = ["OPENGL_BACKENDS", "OPENGL_NEEDED", "Rollout", "mujoco"]
