"""Pictures of LeRobot's videos, decoded with PyAV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

_INSTALL = 'pip install "dppo_rllib[video]"'
# Pillow's and FFmpeg's name of so many channels.
_FORMATS = {1: "gray", 3: "rgb24"}
# Of the time between two pictures: how far a picture may be from where it should be.
_TOLERANCE = 0.25


def decode_video(
    file: Path, start: float, fps: float, into: UInt8[np.ndarray, "T C H W"], episode: int
) -> None:
    """Decodes the pictures of an episode.

    Args:
        file: The video, which may hold other episodes as well.
        start: Where the episode begins, in seconds.
        fps: Pictures per second.
        into: Where they go; tells how many, and their shape.
        episode: Its number, for messages.

    Raises:
        FileNotFoundError: The video is missing.
        ImportError: PyAV is missing.
        ValueError: It is damaged, lacks a picture, or they have another size.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing, expected by the dataset's metadata")
    try:
        import av
    except ImportError as error:
        raise ImportError(f"av cannot be imported ({error}); {_INSTALL}") from error
    where = f"{file}: episode {episode}"
    missing = np.ones(len(into), bool)
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise ValueError(f"{where}: there is no video in it")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if start > 0:
                # To the key picture before; half a picture earlier, against rounding.
                place = int((start - 0.5 / fps) / stream.time_base)
                container.seek(max(place, 0), stream=stream, backward=True)
            for frame in container.decode(stream):
                number = _number(frame, start, fps, where)
                if number >= len(into):
                    break
                if number >= 0:
                    into[number] = _pixels(frame, into.shape[1:], where)
                    missing[number] = False
                if not missing.any():
                    break
    except av.FFmpegError as error:
        raise ValueError(f"{where}: is no readable video ({error})") from error
    if missing.any():
        raise ValueError(
            f"{where}: picture {int(np.argmax(missing))} of {len(into)} is missing, expected at "
            f"{start + np.argmax(missing) / fps:.4f} s"
        )


def _number(frame: Any, start: float, fps: float, where: str) -> int:
    """Of a picture within the episode; negative before it."""
    if frame.time is None:
        raise ValueError(f"{where}: a picture has no time, expected one")
    exact = (frame.time - start) * fps
    number = round(exact)
    if number >= 0 and abs(exact - number) > _TOLERANCE:
        raise ValueError(
            f"{where}: a picture is at {frame.time:.4f} s, between those expected at fps={fps:g} "
            f"from {start:.4f} s on"
        )
    return number


def _pixels(frame: Any, shape: tuple[int, ...], where: str) -> UInt8[np.ndarray, "C H W"]:
    channels, height, width = shape
    if (frame.height, frame.width) != (height, width):
        raise ValueError(
            f"{where}: pictures are {frame.height} x {frame.width}, expected {height} x {width}"
        )
    pixels = frame.to_ndarray(format=_FORMATS[channels])
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
