"""Demonstrations: episodes of (observation, action, reward) in flat arrays, one row a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64, UInt8


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """Episodes end to end in flat arrays: M frames of E episodes.

    Frame `i` holds the observation before its action, and what the environment answered to it.
    Values are those of the environment, not normalised.

    An episode that ends without `terminated` or `truncated` is one whose recording just stops.

    Attributes:
        observations: `[M, Do]` float32.
        actions: `[M, Da]` float32.
        rewards: `[M]` float32.
        terminated: `[M]` bool, only ever true on the last frame of an episode.
        truncated: `[M]` bool, time limit or cut; only ever true on the last frame of an episode.
        episode_lengths: `[E]` int64, frames of each episode; they sum to M.
        fps: environment steps per second.
        task: what is done, in words.
        observation_names: one name per observation dimension, or None.
        action_names: one name per action dimension, or None.
        success: `[M]` bool, whether the task is done after the frame's action; None where it is not
            known. It may be true before the end, and false again.
        images: `[M, C, H, W]` uint8, the channels of all cameras; None without pictures.
        camera_names: one name per camera, which share the channels evenly, 1 or 3 each. None names
            them `camera_0`, …, with 3 channels each, or the only one.
    """

    observations: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    episode_lengths: np.ndarray
    fps: float | int
    task: str = ""
    observation_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    success: np.ndarray | None = None
    images: np.ndarray | None = None
    camera_names: tuple[str, ...] | None = None

    @property
    def num_frames(self) -> int:
        """M, over all episodes."""
        return len(self.observations)

    @property
    def num_episodes(self) -> int:
        """E."""
        return len(self.episode_lengths)

    @property
    def observation_dim(self) -> int:
        """Do."""
        return int(self.observations.shape[1])

    @property
    def action_dim(self) -> int:
        """Da."""
        return int(self.actions.shape[1])

    @property
    def camera_images(self) -> dict[str, UInt8[np.ndarray, "M C H W"]]:
        """Views of each camera's pictures, by its name; empty without pictures."""
        if self.images is None:
            return {}
        channels = self.images.shape[1]
        names = self.camera_names or [f"camera_{i}" for i in range(max(channels // 3, 1))]
        width = channels // len(names)
        return {name: self.images[:, i * width :][:, :width] for i, name in enumerate(names)}

    @property
    def episode_starts(self) -> Int64[np.ndarray, " E"]:
        """Index of the first frame of each episode."""
        return np.cumsum(self.episode_lengths) - self.episode_lengths

    @property
    def episode_returns(self) -> Float64[np.ndarray, " E"]:
        """Undiscounted sum of rewards of each episode, summed in float64."""
        return np.add.reduceat(self.rewards.astype(np.float64), self.episode_starts)

    def select(self, episodes: Sequence[int] | np.ndarray) -> Demonstrations:
        """The given episodes, in the given order.

        Args:
            episodes: Distinct episode indices.

        Raises:
            ValueError: No episode is asked for, or one out of range or twice.
        """
        chosen = check_episode_indices(episodes, self.num_episodes)
        lengths = self.episode_lengths[chosen]
        frames = frames_of(self.episode_starts[chosen], lengths)
        return self.take(frames, lengths)

    def take(
        self, rows: slice | Int64[np.ndarray, " m"], lengths: Int64[np.ndarray, " n"]
    ) -> Demonstrations:
        """Some frames, which are whole episodes of these lengths; a slice stays in this memory."""
        return replace(
            self,
            observations=self.observations[rows],
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            terminated=self.terminated[rows],
            truncated=self.truncated[rows],
            episode_lengths=lengths,
            success=None if self.success is None else self.success[rows],
            images=None if self.images is None else self.images[rows],
        )

    def validate(self) -> None:
        """Check every promise of this class.

        Raises:
            ValueError: Names the field, the value found, and what was expected.
        """
        self._validate_arrays()
        self._validate_images()
        self._validate_episodes()
        for field, names, dim in (
            ("observation_names", self.observation_names, self.observation_dim),
            ("action_names", self.action_names, self.action_dim),
        ):
            if names is not None and len(names) != dim:
                raise ValueError(f"{field} has {len(names)} names, expected {dim}, one a dimension")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"fps is {self.fps}, expected a positive number of steps per second")

    def _validate_arrays(self) -> None:
        for field, dtype, ndim in (
            ("observations", np.float32, 2),
            ("actions", np.float32, 2),
            ("rewards", np.float32, 1),
            ("terminated", np.bool_, 1),
            ("truncated", np.bool_, 1),
            ("success", np.bool_, 1),
            ("episode_lengths", np.int64, 1),
        ):
            array = getattr(self, field)
            if array is None and field == "success":
                continue
            if array.dtype != dtype:
                raise ValueError(f"{field} has dtype {array.dtype}, expected {np.dtype(dtype)}")
            if array.ndim != ndim:
                expected = "[frames, dims]" if ndim == 2 else "one dimension"
                raise ValueError(f"{field} has shape {array.shape}, expected {expected}")
            if ndim == 2 and array.shape[1] == 0:
                raise ValueError(f"{field} has shape {array.shape}, expected at least one column")
            if field != "episode_lengths" and len(array) != self.num_frames:
                raise ValueError(
                    f"{field} has {len(array)} rows, expected {self.num_frames}, "
                    "as many as observations"
                )
            if dtype == np.float32:
                check_finite(array, field)

    def _validate_images(self) -> None:
        images, names = self.images, self.camera_names
        if images is None:
            if names is not None:
                raise ValueError(f"camera_names is {names}, expected None, as there are no images")
            return
        if images.dtype != np.uint8:
            raise ValueError(f"images has dtype {images.dtype}, expected uint8")
        if images.ndim != 4 or 0 in images.shape[1:]:
            raise ValueError(
                f"images has shape {images.shape}, expected [frames, channels, height, width]"
            )
        if len(images) != self.num_frames:
            raise ValueError(
                f"images has {len(images)} rows, expected {self.num_frames}, "
                "as many as observations"
            )
        channels = images.shape[1]
        if names is None:
            if channels != 1 and channels % 3:
                raise ValueError(
                    f"images has {channels} channels, expected 1, or 3 for each camera"
                )
            return
        if len(set(names)) != len(names) or any(not name or "/" in name for name in names):
            raise ValueError(f"camera_names is {names}, expected distinct ones without '/'")
        if channels not in (len(names), 3 * len(names)):
            raise ValueError(
                f"images has {channels} channels, expected 1 or 3 for each of camera_names {names}"
            )

    def _validate_episodes(self) -> None:
        if self.num_episodes == 0:
            raise ValueError("episode_lengths is empty, expected at least one episode")
        if (self.episode_lengths < 1).any():
            bad = int(np.argmax(self.episode_lengths < 1))
            raise ValueError(
                f"episode_lengths[{bad}] is {self.episode_lengths[bad]}, expected at least 1"
            )
        total = int(self.episode_lengths.sum())
        if total != self.num_frames:
            raise ValueError(
                f"episode_lengths sum to {total}, expected {self.num_frames}, "
                "the rows of observations"
            )
        inside = np.ones(self.num_frames, dtype=bool)
        inside[self.episode_starts + self.episode_lengths - 1] = False
        for field in ("terminated", "truncated"):
            if (getattr(self, field) & inside).any():
                frame = int(np.argmax(getattr(self, field) & inside))
                raise ValueError(
                    f"{field}[{frame}] is True inside an episode, "
                    "expected only on the last frame of one"
                )


def check_finite(array: np.ndarray, name: str) -> None:
    """Raise ValueError naming the first NaN or infinite entry of `array`, which is `name`."""
    if np.isfinite(array).all():
        return
    where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
    raise ValueError(f"{name}{list(where)} is {array[where]}, expected a finite number")


def check_episode_indices(
    episodes: Sequence[int] | np.ndarray, num_episodes: int
) -> Int64[np.ndarray, " n"]:
    """Episode indices as an array.

    Raises:
        ValueError: There are none, or one is out of `0 .. num_episodes - 1`, or comes twice.
    """
    chosen = np.asarray(episodes)
    if chosen.size == 0:
        raise ValueError("episodes is empty, expected at least one episode index")
    if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(f"episodes is {episodes!r}, expected a sequence of integers")
    outside = chosen[(chosen < 0) | (chosen >= num_episodes)]
    if outside.size:
        raise ValueError(f"episodes contains {outside[0]}, expected 0 to {num_episodes - 1}")
    values, counts = np.unique(chosen, return_counts=True)
    if (counts > 1).any():
        raise ValueError(f"episodes contains {values[np.argmax(counts > 1)]} more than once")
    return chosen.astype(np.int64)


def frames_of(
    starts: Int64[np.ndarray, " n"], lengths: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " m"]:
    """The indices `starts[i] .. starts[i] + lengths[i] - 1`, for all i in turn."""
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.repeat(starts, lengths) + within
