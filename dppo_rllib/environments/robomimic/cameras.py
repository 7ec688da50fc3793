"""Pictures of simulated scenes, drawn off-screen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mujoco
import numpy as np
from jaxtyping import UInt8

# robosuite's groups: bodies as they collide, and as they look.
_COLLISION_GROUP, _VISUAL_GROUP = 0, 1
_NEEDED = (
    "off-screen rendering needs EGL (apt-get install libegl1) or OSMesa (apt-get install "
    "libosmesa6); choose with the environment variable MUJOCO_GL=egl or osmesa"
)


class Cameras:
    """Draws what cameras of a model see; one OpenGL context, whatever the number of copies.

    Reflections are not drawn: they take more than half of the time, and change next to nothing of
    what a policy sees.

    Args:
        model: MuJoCo's.
        names: Of the cameras.
        size: Height and width of a picture.

    Raises:
        RuntimeError: Nothing can be drawn here.
        ValueError: There is no such camera.
    """

    def __init__(self, model: Any, names: Sequence[str], size: tuple[int, int]):
        known = [model.camera(i).name for i in range(model.ncam)]
        if unknown := sorted(set(names) - set(known)):
            raise ValueError(f"cameras {unknown}: expected some of {known}")
        self._names = tuple(names)
        # Robots and objects bring no buffer for pictures larger than this.
        model.vis.global_.offheight = max(model.vis.global_.offheight, size[0])
        model.vis.global_.offwidth = max(model.vis.global_.offwidth, size[1])
        try:
            self._renderer = mujoco.Renderer(model, *size)
        except Exception as error:
            raise RuntimeError(f"pictures cannot be drawn ({error}); {_NEEDED}") from error
        self._options = mujoco.MjvOption()
        self._options.geomgroup[_COLLISION_GROUP] = 0
        self._options.geomgroup[_VISUAL_GROUP] = 1
        self._options.sitegroup[:] = 0
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0

    def draw(self, data: Any) -> UInt8[np.ndarray, "H W C"]:
        """What the cameras see, the channels of one after those of the other."""
        pictures = []
        for name in self._names:
            self._renderer.update_scene(data, name, self._options)
            pictures.append(self._renderer.render())
        return np.concatenate(pictures, axis=-1)

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._renderer.close()
