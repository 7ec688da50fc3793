"""Pictures of simulated scenes, drawn off-screen."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from dppo_rllib.environments.physics import OPENGL_BACKENDS, OPENGL_NEEDED, mujoco
from dppo_rllib.errors import UserError

# robosuite's group of what bodies look like; in group 0 is how they collide.
_VISUAL_GROUPS = (1,)
_MAX_GEOMS = 10_000


class Cameras:
    """Draws what cameras of a model see, whatever the number of copies of it.

    Reflections are not drawn: they take more than half of the time, and change next to nothing of
    what a policy sees.

    Args:
        model: MuJoCo's.
        names: Of the cameras.
        size: Height and width of a picture.
        groups: Of the geometries that are drawn.

    Raises:
        UserError: Nothing can be drawn here.
        ValueError: There is no such camera.
    """

    def __init__(
        self,
        model: Any,
        names: Sequence[str],
        size: tuple[int, int],
        groups: Sequence[int] = _VISUAL_GROUPS,
    ):
        known = [model.camera(i).name for i in range(model.ncam)]
        if unknown := sorted(set(names) - set(known)):
            raise ValueError(f"cameras {unknown}: expected some of {known}")
        self._model, self._size = model, size
        height, width = size
        # The model brings a buffer of a fixed size along, which may be smaller.
        buffer = model.vis.global_
        buffer.offheight, buffer.offwidth = (
            max(buffer.offheight, height),
            max(buffer.offwidth, width),
        )
        self._views = [mujoco.MjvCamera() for _ in names]
        for view, name in zip(self._views, names, strict=True):
            view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, model.camera(name).id
        self._options = mujoco.MjvOption()
        self._groups = list(groups)
        self._options.geomgroup[:] = 0
        self._options.geomgroup[self._groups] = 1
        self._options.sitegroup[:] = 0
        self._scene = mujoco.MjvScene(model, _MAX_GEOMS)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        self._rectangle = mujoco.MjrRect(0, 0, width, height)
        self._gl = _open_gl(width, height)
        self._gl.make_current()
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._refuse_frozen()

    def draw(self, data: Any) -> UInt8[np.ndarray, "H W C"]:
        """What the cameras see, the channels of one after those of the other."""
        self._gl.make_current()
        pictures = np.empty((len(self._views), *self._size, 3), np.uint8)
        for view, picture in zip(self._views, pictures, strict=True):
            mujoco.mjv_updateScene(
                self._model,
                data,
                self._options,
                None,
                view,
                mujoco.mjtCatBit.mjCAT_ALL,
                self._scene,
            )
            mujoco.mjr_render(self._rectangle, self._scene, self._context)
            mujoco.mjr_readPixels(picture, None, self._rectangle, self._context)
        # OpenGL counts rows from below.
        return np.concatenate(list(pictures[:, ::-1]), axis=-1)

    def close(self) -> None:
        """Frees what the graphics library holds; once more is no error."""
        if self._gl is not None:
            self._gl.make_current()
            self._context.free()
            self._gl.free()
            self._gl = None

    def _refuse_frozen(self) -> None:
        """Some drivers show one picture for ever after another context was closed."""
        data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, data)
        everything = self.draw(data)
        self._options.geomgroup[self._groups] = 0
        nothing = self.draw(data)
        self._options.geomgroup[self._groups] = 1
        if np.array_equal(everything, nothing):
            self.close()
            raise UserError(
                "pictures do not change with the scene; have each process draw for one environment"
            )


def _open_gl(width: int, height: int) -> Any:
    """An OpenGL context of MuJoCo's, by the first library that is there."""
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    problems = []
    for backend in [chosen] if chosen else OPENGL_BACKENDS:
        try:
            return importlib.import_module(f"mujoco.{backend}").GLContext(width, height)
        except Exception as error:
            problems.append(f"{backend}: {error}")
    raise UserError(f"pictures cannot be drawn ({'; '.join(problems)}); {OPENGL_NEEDED}")
