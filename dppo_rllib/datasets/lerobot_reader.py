"""Read the LeRobot dataset formats v3.0, v2.1 and v2.0: ours, and what is on the Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from dppo_rllib.datasets.demonstrations import Demonstrations, check_episode_indices
from dppo_rllib.datasets.lerobot_files import read_info
from dppo_rllib.datasets.lerobot_frames import read_frames, row_group_blocks
from dppo_rllib.datasets.lerobot_images import camera_name, cameras_of
from dppo_rllib.datasets.lerobot_index import read_index
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    DONE,
    INFO_PATH,
    OBSERVATION,
    REWARD,
    SUCCESS,
    TERMINATED,
    TRUNCATED,
)
from dppo_rllib.datasets.lerobot_videos import decode_video
from dppo_rllib.datasets.splits import episodes_of_split


def read_demonstrations(
    path: str | Path,
    *,
    episodes: Sequence[int] | np.ndarray | None = None,
    cameras: Sequence[str] | None = None,
) -> Demonstrations:
    """Read a LeRobot dataset's states, actions, rewards, ends and pictures.

    Datasets of others may declare less than ours: without `next.reward` rewards are 0, without
    `next.success` it is not known, without `next.terminated` the `next.done` of an episode's last
    frame is a termination, and without that the episode just stops. The words of several tasks are
    joined by "; ". Pictures are features `observation.images.<camera>` of dtype "image" or "video".

    Args:
        path: The dataset's directory.
        episodes: Read these only, in this order; None reads all. Only their files are opened.
        cameras: Read their pictures, channels in this order; None reads all cameras, in the order
            of the features, and `()` none.

    Raises:
        FileNotFoundError: The directory or a file of it is missing.
        ImportError: There are videos to be read, and PyAV is missing.
        ValueError: Anything else that is wrong, with file, row group and episode, the field or
            column, the value found, and what was expected.
    """
    return DatasetReader(path, cameras=cameras).read(episodes)


class DatasetReader:
    """A dataset of which the metadata have been read; its episodes are, when they are asked for.

    Attributes:
        root: Its directory.
        info: What its `info.json` says.
        lengths: `[E]`, of its episodes in frames.
        fps: Environment steps per second.
        image_shape: `(C, H, W)` of a step's pictures, all cameras together; None without any.
    """

    def __init__(self, path: str | Path, *, cameras: Sequence[str] | None = None) -> None:
        """Reads the metadata; see `read_demonstrations`."""
        self.root = Path(path)
        self.info = read_info(self.root)
        self._index = read_index(self.root, self.info)
        self._cameras = cameras_of(self.info, cameras, self.root / INFO_PATH)
        self.lengths = self._index.lengths
        self.fps = float(self.info["fps"])
        shapes = list(self._cameras.values())
        self.image_shape = (sum(shape[0] for shape in shapes), *shapes[0][1:]) if shapes else None

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.lengths)

    @property
    def num_frames(self) -> int:
        """M, over all episodes."""
        return int(self.lengths.sum())

    @property
    def files(self) -> list[Path]:
        """By episode, the Parquet file that holds it."""
        return self._index.files

    def named_files(self) -> list[Path]:
        """All Parquet files and videos that the metadata name, which may be missing."""
        videos = [file for camera in self._index.videos.values() for file in camera.files]
        return list(dict.fromkeys([*self.files, *videos]))

    @property
    def task(self) -> str:
        """What is done, in words."""
        return self._index.task

    def names(self, column: str) -> tuple[str, ...] | None:
        """Of a column's dimensions, where each has one."""
        return _names(self.info, column)

    @property
    def dims(self) -> tuple[int, int]:
        """Do and Da."""
        observation, action = (self.info["features"][c]["shape"][0] for c in (OBSERVATION, ACTION))
        return int(observation), int(action)

    @property
    def frame_bytes(self) -> int:
        """Of a frame in `Demonstrations`."""
        flags = 2 + (SUCCESS in self.info["features"])
        return 4 * (sum(self.dims) + 1) + flags + int(np.prod(self.image_shape or 0))

    def blocks(
        self, size: float, episodes: Int64[np.ndarray, " n"] | None = None
    ) -> list[Int64[np.ndarray, " m"]]:
        """Episodes in stretches of the same file that have at most so many bytes.

        Read one after the other, they need little memory and every row group about once.

        Args:
            size: In `Demonstrations`; an episode that has more is a stretch of its own.
            episodes: Ascending; None takes all.
        """
        chosen = np.arange(self.num_episodes) if episodes is None else episodes
        blocks: list[list[int]] = []
        filled, file = 0.0, None
        for episode in chosen.tolist():
            own = float(self.lengths[episode]) * self.frame_bytes
            if file != self.files[episode] or filled + own > size:
                blocks.append([])
                filled, file = 0.0, self.files[episode]
            blocks[-1].append(episode)
            filled += own
        return [np.array(block, np.int64) for block in blocks]

    def row_group_blocks(self, episodes: Int64[np.ndarray, " n"]) -> list[Int64[np.ndarray, " m"]]:
        """Of these episodes, ascending, those that begin in the same row group together."""
        return row_group_blocks(self._index, episodes)

    def split(self, name: str | None) -> Int64[np.ndarray, " n"]:
        """The episodes of a split; see `episodes_of_split`."""
        where = str(self.root / INFO_PATH)
        return episodes_of_split(self.info, name, self.num_episodes, where)

    def read(self, episodes: Sequence[int] | np.ndarray | None = None) -> Demonstrations:
        """Some episodes in this order, or all; see `read_demonstrations`."""
        everything = np.arange(self.num_episodes)
        chosen = (
            everything if episodes is None else check_episode_indices(episodes, len(everything))
        )
        images = self._room_for_pictures(chosen)
        lengths = self.lengths[chosen]
        columns = read_frames(self._index, chosen, self._dims(), self._stored_pictures(images))
        if images is not None:
            self._decode_videos(chosen, images)
        last = np.zeros(int(lengths.sum()), dtype=bool)
        last[np.cumsum(lengths) - 1] = True
        none = np.zeros(len(last), dtype=bool)
        demonstrations = Demonstrations(
            observations=columns[OBSERVATION],
            actions=columns[ACTION],
            rewards=columns.get(REWARD, none.astype(np.float32)),
            # `next.done` may stay true for some frames of a recording that went on after success.
            terminated=columns.get(TERMINATED, columns.get(DONE, none)) & last,
            truncated=columns.get(TRUNCATED, none) & last,
            episode_lengths=lengths,
            fps=self.fps,
            task=self.task,
            observation_names=self.names(OBSERVATION),
            action_names=self.names(ACTION),
            success=columns.get(SUCCESS),
            images=images,
            camera_names=tuple(map(camera_name, self._cameras)) if self._cameras else None,
        )
        demonstrations.validate()
        return demonstrations

    def _dims(self) -> dict[str, int | None]:
        observation, action = self.dims
        optional = (REWARD, SUCCESS, DONE, TERMINATED, TRUNCATED)
        declared = {column: None for column in optional if column in self.info["features"]}
        return {OBSERVATION: observation, ACTION: action, **declared}

    def _room_for_pictures(
        self, chosen: Int64[np.ndarray, " n"]
    ) -> UInt8[np.ndarray, "M C H W"] | None:
        if self.image_shape is None:
            return None
        return np.empty((int(self.lengths[chosen].sum()), *self.image_shape), np.uint8)

    def _views(
        self, images: UInt8[np.ndarray, "M C H W"]
    ) -> dict[str, UInt8[np.ndarray, "M c H W"]]:
        """Each camera's channels."""
        views, first = {}, 0
        for column, (channels, _, _) in self._cameras.items():
            views[column] = images[:, first : first + channels]
            first += channels
        return views

    def _stored_pictures(
        self, images: UInt8[np.ndarray, "M C H W"] | None
    ) -> dict[str, UInt8[np.ndarray, "M c H W"]]:
        """Of the cameras whose pictures are in the tables."""
        if images is None:
            return {}
        return {k: view for k, view in self._views(images).items() if k not in self._index.videos}

    def _decode_videos(
        self, chosen: Int64[np.ndarray, " n"], images: UInt8[np.ndarray, "M C H W"]
    ) -> None:
        ends = np.cumsum(self.lengths[chosen])
        for column, view in self._views(images).items():
            if column not in self._index.videos:
                continue
            stretches = self._index.videos[column]
            for episode, end in zip(chosen.tolist(), ends.tolist(), strict=True):
                into = view[end - int(self.lengths[episode]) : end]
                start = float(stretches.starts[episode])
                decode_video(stretches.files[episode], start, self.fps, into, episode)


def _names(info: dict[str, Any], column: str) -> tuple[str, ...] | None:
    """Some datasets group names ({"motors": [...]}), or give one for all dimensions: not ours."""
    feature = info["features"][column]
    names = feature.get("names")
    if isinstance(names, dict) and len(names) == 1:
        names = next(iter(names.values()))
    if not isinstance(names, list) or len(names) != feature["shape"][0]:
        return None
    return tuple(str(name) for name in names)
