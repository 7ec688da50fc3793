"""Training samples of behaviour cloning: (observation history, action chunk), on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Int64, Shaped, UInt8
from torch import Tensor

from dppo_rllib.datasets.demonstrations import Demonstrations, check_finite, frames_of

# Pictures that are sent to a device at a time.
_BLOCK = 1024


@runtime_checkable
class Normalizer(Protocol):
    """What maps observations and actions to [-1, 1] (`environments.normalization` has one)."""

    def normalize_obs(self, obs: np.ndarray, /) -> np.ndarray:
        """Observations `[..., Do]` in the policy's range."""

    def normalize_action(self, action: np.ndarray, /) -> np.ndarray:
        """Actions `[..., Da]` in the policy's range."""


class ActionChunks:
    """Every (observation history, action chunk) of some episodes, preloaded on one device.

    A sample starts at each frame from which a whole chunk remains in the episode: frames
    `t .. t + horizon_steps - 1` are its actions, frames `t - cond_steps + 1 .. t` its
    observations, newest last, where the first observation of the episode stands for those before
    it. (As `StitchedSequenceDataset` of the official implementation.) Samples are in the order of
    the episodes and frames.

    Frames are stored once and normalised; a batch is gathered by index arithmetic. Pictures stay
    bytes, with a history of their own length, `img_cond_steps`. On the CPU they are those of the
    demonstrations, in the same memory; elsewhere, a copy of the chosen episodes'.

    Attributes:
        horizon_steps: Tp.
        cond_steps: To.
        img_cond_steps: Ti.
        observations: `[M, Do]` float32, of the chosen episodes end to end.
        actions: `[M, Da]` float32.
        starts: `[len]` int64, the frame at which each sample starts.
        episode_starts: `[len]` int64, the first frame of its episode.
        images: `[.., C, H, W]` uint8; None without pictures.
        image_starts: `[len]` int64, the picture at which each sample starts.
        dropped_episodes: how many of the chosen episodes are shorter than a chunk.
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        normalization: Normalizer | None,
        *,
        horizon_steps: int,
        cond_steps: int = 1,
        img_cond_steps: int = 1,
        episodes: Sequence[int] | np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Normalise the frames and move them to the device.

        Args:
            demonstrations: Validated here.
            normalization: None takes the values as they are.
            horizon_steps: Tp, at least 1.
            cond_steps: To, at least 1.
            img_cond_steps: Ti, at least 1; without pictures 1.
            episodes: Only these episodes; None takes all.
            device: Where the frames lie, and the samples come out.

        Raises:
            ValueError: A step count is below 1, an episode index is wrong, the demonstrations or
                their normalised values are not valid, or no episode is as long as a chunk.
        """
        for name, steps in (
            ("horizon_steps", horizon_steps),
            ("cond_steps", cond_steps),
            ("img_cond_steps", img_cond_steps),
        ):
            if steps < 1:
                raise ValueError(f"{name} is {steps}, expected at least 1")
        demonstrations.validate()
        images = demonstrations.images
        if images is None and img_cond_steps != 1:
            raise ValueError(f"img_cond_steps is {img_cond_steps}, expected 1 without pictures")
        # Selecting would copy the pictures: their rows are kept instead.
        demonstrations = replace(demonstrations, images=None, camera_names=None)
        rows = np.arange(demonstrations.num_frames)
        if episodes is not None:
            chosen = np.asarray(episodes)
            everything, demonstrations = demonstrations, demonstrations.select(chosen)
            rows = frames_of(everything.episode_starts[chosen], demonstrations.episode_lengths)
        starts, episode_starts = _sample_starts(demonstrations, horizon_steps)
        observations, actions = demonstrations.observations, demonstrations.actions
        if normalization is not None:
            observations = _normalized(observations, normalization.normalize_obs, "observations")
            actions = _normalized(actions, normalization.normalize_action, "actions")
        self.horizon_steps, self.cond_steps = horizon_steps, cond_steps
        self.img_cond_steps = img_cond_steps
        self.dropped_episodes = int((demonstrations.episode_lengths < horizon_steps).sum())
        # A copy: the caller's arrays may be read-only, or change.
        self.observations = torch.tensor(observations, dtype=torch.float32, device=device)
        self.actions = torch.tensor(actions, dtype=torch.float32, device=device)
        self.starts = torch.tensor(starts, device=device)
        self.episode_starts = torch.tensor(episode_starts, device=device)
        self._ahead = torch.arange(horizon_steps, device=device)
        self._back = torch.arange(1 - cond_steps, 1, device=device)
        self._image_back = torch.arange(1 - img_cond_steps, 1, device=device)
        self.images = self.image_starts = None
        if images is not None:
            shared = self.device.type == "cpu"
            self.images = _shared(images) if shared else _sent(images, rows, self.device)
            self.image_starts = torch.tensor(rows[starts] if shared else starts, device=device)

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.actions.device

    def __len__(self) -> int:
        return len(self.starts)

    def gather(
        self, indices: Int[Tensor, " B"]
    ) -> tuple[dict[str, Shaped[Tensor, "B ..."]], Float[Tensor, "B Tp Da"]]:
        """The samples of these indices (`0 .. len - 1`, on the same device).

        Returns:
            Observation histories, newest last, `{"state": [B, To, Do] float32}`, with pictures
            also `"rgb": [B, Ti, C, H, W] uint8`; and action chunks.
        """
        starts, episode_starts = self.starts[indices, None], self.episode_starts[indices, None]
        history = torch.maximum(starts + self._back, episode_starts)
        obs = {"state": self.observations[history]}
        if self.images is not None and self.image_starts is not None:
            back = torch.maximum(self._image_back, episode_starts - starts)
            rows = self.image_starts[indices, None] + back
            obs["rgb"] = self.images.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        return obs, self.actions[starts + self._ahead]

    def pools(self, generator: torch.Generator | None) -> Iterator[ActionChunks]:
        """Itself: all samples are in memory; see `minibatches.Samples`."""
        yield self


def split_episodes(
    num_episodes: int, validation_fraction: float | int, seed: int
) -> tuple[Int64[np.ndarray, " train"], Int64[np.ndarray, " validation"]]:
    """Split whole episodes at random, so that no window of one part overlaps the other.

    Args:
        num_episodes: E, at least 1.
        validation_fraction: In [0, 1). Above 0, either part has at least one episode.
        seed: The same seed gives the same split.

    Returns:
        Training and validation episodes, ascending.

    Raises:
        ValueError: A number is out of its range, or one episode is to be split.
    """
    if num_episodes < 1:
        raise ValueError(f"num_episodes is {num_episodes}, expected at least 1")
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction is {validation_fraction}, expected 0 <= f < 1")
    count = 0
    if validation_fraction > 0:
        if num_episodes == 1:
            raise ValueError(
                f"num_episodes is 1, expected at least 2 for validation_fraction "
                f"{validation_fraction}, or a fraction of 0"
            )
        count = min(max(round(validation_fraction * num_episodes), 1), num_episodes - 1)
    shuffled = np.random.default_rng(seed).permutation(num_episodes)
    return np.sort(shuffled[count:]), np.sort(shuffled[:count])


def _normalized(
    values: Float[np.ndarray, "M D"], normalize: Callable[[np.ndarray], np.ndarray], name: str
) -> Float[np.ndarray, "M D"]:
    try:
        result = np.asarray(normalize(values))
    except ValueError as error:
        raise ValueError(f"normalization does not fit {name} {values.shape}: {error}") from error
    if result.shape != values.shape:
        raise ValueError(
            f"normalized {name} have shape {result.shape}, expected {values.shape}: "
            "the normalization is for other dimensions"
        )
    check_finite(result, f"normalized {name}")
    return result


def _shared(images: UInt8[np.ndarray, "M C H W"]) -> UInt8[Tensor, "M C H W"]:
    """The same memory, unless it is read-only, which PyTorch does not know."""
    return torch.from_numpy(images if images.flags.writeable else images.copy())


def _sent(
    images: UInt8[np.ndarray, "M C H W"], rows: Int64[np.ndarray, " m"], device: torch.device
) -> UInt8[Tensor, "m C H W"]:
    """A copy of some pictures on another device, without one of all of them here."""
    there = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        there[start : start + len(block)] = torch.from_numpy(images[block])
    return there


def _sample_starts(
    demonstrations: Demonstrations, horizon_steps: int
) -> tuple[Int64[np.ndarray, " n"], Int64[np.ndarray, " n"]]:
    """The first frame of each sample, and the first frame of its episode."""
    lengths = demonstrations.episode_lengths
    if (lengths < horizon_steps).all():
        shown = np.array2string(lengths, threshold=8, edgeitems=3)
        raise ValueError(
            f"horizon_steps is {horizon_steps}, expected at most {lengths.max()}: "
            f"the episodes' lengths are {shown}"
        )
    remaining = np.repeat(demonstrations.episode_starts + lengths, lengths) - np.arange(
        demonstrations.num_frames
    )
    starts = np.flatnonzero(remaining >= horizon_steps)
    return starts, np.repeat(demonstrations.episode_starts, lengths)[starts]
