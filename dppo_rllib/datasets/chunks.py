"""Training samples of behaviour cloning: (observation history, action chunk), on a device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from dppo_rllib.datasets.demonstrations import Demonstrations, check_finite


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

    Frames are stored once and normalised; a batch is gathered by index arithmetic.

    Attributes:
        horizon_steps: Tp.
        cond_steps: To.
        observations: `[M, Do]` float32, of the chosen episodes end to end.
        actions: `[M, Da]` float32.
        starts: `[len]` int64, the frame at which each sample starts.
        episode_starts: `[len]` int64, the first frame of its episode.
        dropped_episodes: how many of the chosen episodes are shorter than a chunk.
    """

    def __init__(
        self,
        demonstrations: Demonstrations,
        normalization: Normalizer | None,
        *,
        horizon_steps: int,
        cond_steps: int = 1,
        episodes: Sequence[int] | np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Normalise the frames and move them to the device.

        Args:
            demonstrations: Validated here.
            normalization: None takes the values as they are.
            horizon_steps: Tp, at least 1.
            cond_steps: To, at least 1.
            episodes: Only these episodes; None takes all.
            device: Where the frames lie, and the samples come out.

        Raises:
            ValueError: A step count is below 1, an episode index is wrong, the demonstrations or
                their normalised values are not valid, or no episode is as long as a chunk.
        """
        for name, steps in (("horizon_steps", horizon_steps), ("cond_steps", cond_steps)):
            if steps < 1:
                raise ValueError(f"{name} is {steps}, expected at least 1")
        demonstrations.validate()
        if episodes is not None:
            demonstrations = demonstrations.select(episodes)
        starts, episode_starts = _sample_starts(demonstrations, horizon_steps)
        observations, actions = demonstrations.observations, demonstrations.actions
        if normalization is not None:
            observations = _normalized(observations, normalization.normalize_obs, "observations")
            actions = _normalized(actions, normalization.normalize_action, "actions")
        self.horizon_steps = horizon_steps
        self.cond_steps = cond_steps
        self.dropped_episodes = int((demonstrations.episode_lengths < horizon_steps).sum())
        # A copy: the caller's arrays may be read-only, or change.
        self.observations = torch.tensor(observations, dtype=torch.float32, device=device)
        self.actions = torch.tensor(actions, dtype=torch.float32, device=device)
        self.starts = torch.tensor(starts, device=device)
        self.episode_starts = torch.tensor(episode_starts, device=device)
        self._ahead = torch.arange(horizon_steps, device=device)
        self._back = torch.arange(1 - cond_steps, 1, device=device)

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.actions.device

    def __len__(self) -> int:
        return len(self.starts)

    def gather(
        self, indices: Int[Tensor, " B"]
    ) -> tuple[dict[str, Float[Tensor, "B To Do"]], Float[Tensor, "B Tp Da"]]:
        """The samples of these indices (`0 .. len - 1`, on the same device).

        Returns:
            `{"state": observation histories, newest last}` and action chunks.
        """
        starts = self.starts[indices, None]
        history = torch.maximum(starts + self._back, self.episode_starts[indices, None])
        return {"state": self.observations[history]}, self.actions[starts + self._ahead]


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
