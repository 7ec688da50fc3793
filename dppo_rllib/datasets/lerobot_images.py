"""Pictures in the LeRobot dataset format v3.0: PNG files in a column `{bytes, path}` a camera.

Features of dtype "image" are of shape `[H, W, C]`; so are those of dtype "video", whose pictures
are in files beside the tables (`lerobot_videos`).
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int64, UInt8
from PIL import Image, UnidentifiedImageError

from dppo_rllib.datasets.lerobot_files import check_no_null
from dppo_rllib.datasets.lerobot_layout import IMAGE, IMAGE_NAMES, VIDEO
from dppo_rllib.environments.observation_spaces import channels_first

# Pillow's name of so many channels.
_MODES = {1: "L", 3: "RGB"}
# As LeRobot: more takes four times as long to make files smaller by a tenth.
_COMPRESS_LEVEL = 1
# Pictures that a thread takes at a time.
_BLOCK = 64


def image_feature(column: UInt8[np.ndarray, "M C H W"]) -> dict[str, Any]:
    """The entry of `info.json` for a camera's pictures."""
    _, channels, height, width = column.shape
    return {"dtype": IMAGE, "shape": [height, width, channels], "names": list(IMAGE_NAMES)}


def encode_pictures(
    pictures: UInt8[np.ndarray, "M C H W"], frame_index: Int64[np.ndarray, " M"]
) -> pa.StructArray:
    """Pictures of 1 or 3 channels as PNG files, named after their frames as LeRobot does."""

    def encode(rows: range) -> list[bytes]:
        return [_png(pictures[row]) for row in rows]

    paths = [f"frame-{frame:06d}.png" for frame in frame_index]
    files = pa.array(chain.from_iterable(_in_threads(encode, len(pictures))), pa.binary())
    return pa.StructArray.from_arrays([files, pa.array(paths, pa.string())], ["bytes", "path"])


def decode_pictures(
    column: pa.ChunkedArray,
    into: UInt8[np.ndarray, "M C H W"],
    rows: Int64[np.ndarray, " m"],
    name: str,
    place: Callable[[int], str],
) -> None:
    """Decodes picture `i` of a column into `into[rows[i]]`.

    Args:
        column: As `encode_pictures` makes it; any format that Pillow knows.
        into: Where they go, and their shape.
        rows: One for each.
        name: Of the column.
        place: What to call a row in messages.

    Raises:
        ValueError: A picture is missing, damaged, or of another shape or depth.
    """
    kind = column.type
    if not pa.types.is_struct(kind) or kind.get_field_index("bytes") < 0:
        raise ValueError(f"{place(0)}: {name} is {kind}, expected a struct of bytes and path")
    files = pc.struct_field(column, "bytes")
    check_no_null(files, name, place)
    buffers = [file for part in files.chunks for file in part]

    def decode(block: range) -> None:
        for i in block:
            _decode_into(buffers[i].as_buffer(), into[rows[i]], f"{place(i)}: {name}")

    for _ in _in_threads(decode, len(buffers)):
        pass


def camera_name(column: str) -> str:
    """The camera of a column: `front` of `observation.images.front`."""
    return column.removeprefix("observation.").removeprefix("images.")


def cameras_of(
    info: dict[str, Any], cameras: Sequence[str] | None, file: Path
) -> dict[str, tuple[int, int, int]]:
    """The columns of these cameras and the `(C, H, W)` of their pictures.

    Args:
        info: Of `info.json`.
        cameras: Names, see `camera_name`; None takes all, in the order of the features.
        file: Where `info` comes from, for messages.

    Raises:
        ValueError: There is no such camera, or pictures differ in size or are of no known shape.
    """
    features: dict[str, Any] = info["features"]
    columns = {
        camera_name(column): column
        for column, feature in features.items()
        # Some datasets have one `observation.image`.
        if column.startswith("observation.image") and feature.get("dtype") in (IMAGE, VIDEO)
    }
    shapes: dict[str, tuple[int, int, int]] = {}
    for camera in columns if cameras is None else cameras:
        if camera not in columns:
            raise ValueError(
                f"{file}: has no camera {camera!r} whose feature is of dtype 'image' or 'video', "
                f"only: {', '.join(columns) or 'none'}"
            )
        column = columns[camera]
        shapes[column] = _picture_shape(features[column], f"{file}: {column}")
    if len({shape[1:] for shape in shapes.values()}) > 1:
        raise ValueError(
            f"{file}: pictures (C, H, W) are {shapes}, expected one size; name the cameras to read"
        )
    return shapes


def _picture_shape(feature: dict[str, Any], name: str) -> tuple[int, int, int]:
    """Names of the axes say which holds the channels; where there are none, the length does."""
    shape, names = feature.get("shape"), feature.get("names")
    if not isinstance(shape, list) or len(shape) != 3:
        raise ValueError(f"{name} has shape {shape}, expected [height, width, channels]")
    axes = [str(axis) for axis in names] if isinstance(names, list) else []
    if len(axes) == 3 and axes[0].startswith("channel"):
        channels, height, width = shape
    elif len(axes) == 3 and axes[2].startswith("channel"):
        height, width, channels = shape
    else:
        try:
            channels, height, width = channels_first(shape)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    if channels not in _MODES:
        raise ValueError(f"{name} has {channels} channels, expected 1 or 3")
    return channels, height, width


def _png(picture: UInt8[np.ndarray, "C H W"]) -> bytes:
    pixels = picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "PNG", compress_level=_COMPRESS_LEVEL)
    return file.getvalue()


def _decode_into(buffer: pa.Buffer, into: UInt8[np.ndarray, "C H W"], name: str) -> None:
    channels, height, width = into.shape
    try:
        with Image.open(pa.BufferReader(buffer)) as image:
            image.load()
            if (image.mode, image.size) != (_MODES[channels], (width, height)):
                raise ValueError(
                    f"{name} is {image.mode} of {image.height} x {image.width} pixels, expected "
                    f"{_MODES[channels]} of {height} x {width}"
                )
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{name} is no readable picture ({error})") from error
    into[:] = pixels if channels == 1 else pixels.transpose(2, 0, 1)


def _in_threads(work: Callable[[range], Any], count: int) -> list[Any]:
    """Of blocks of `0 .. count - 1`, in order: Pillow lets other threads run while it works."""
    blocks = [range(i, min(i + _BLOCK, count)) for i in range(0, count, _BLOCK)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(work, blocks))
