"""Training samples of a dataset that is larger than memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64

from dppo_rllib.datasets.chunks import ActionChunks, Normalizer
from dppo_rllib.datasets.lerobot_reader import DatasetReader

# Bytes a frame besides its numbers: where samples start, and flags.
_INDEX = 48
# While a pool is made, its numbers are there as read, normalised (with a temporary), as tensors.
_COPIES = 4


class StreamedChunks:
    """Every (observation history, action chunk) of some episodes, a pool at a time in memory.

    A dataset is taken apart into blocks of episodes that share a row group. For each pass they are
    shuffled, and as many as fit make a pool: an `ActionChunks`, whose samples are to be drawn in
    any order. While a pool is used, the next one is read by another thread. Each sample is in one
    pool of a pass.

    Samples of a pool come from `blocks_per_pool` places of the dataset: the larger the limit, the
    closer to a shuffle of the whole.

    Attributes:
        horizon_steps: Tp.
        dropped_episodes: How many of the chosen episodes are shorter than a chunk.
        blocks_per_pool: How many fit on average.
    """

    def __init__(
        self,
        reader: DatasetReader,
        normalization: Normalizer | None,
        *,
        memory_limit: float,
        horizon_steps: int,
        cond_steps: int = 1,
        img_cond_steps: int = 1,
        episodes: Sequence[int] | np.ndarray | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Plans the blocks; frames are read later.

        Args:
            reader: Reads them.
            normalization: As in `ActionChunks`, like those that follow.
            memory_limit: Bytes that the pools and reading may take together.
            horizon_steps: Tp.
            cond_steps: To.
            img_cond_steps: Ti.
            episodes: Only these; None takes all.
            device: Where samples come out.

        Raises:
            ValueError: No episode is as long as a chunk, or a block does not fit.
        """
        chosen = np.arange(reader.num_episodes) if episodes is None else np.sort(episodes)
        lengths = reader.lengths[chosen]
        long_enough = lengths >= horizon_steps
        if not long_enough.any():
            raise ValueError(
                f"horizon_steps is {horizon_steps}, expected at most {lengths.max()}, the longest "
                "episode's length"
            )
        self.horizon_steps = horizon_steps
        self.dropped_episodes = int((~long_enough).sum())
        self._samples = int((lengths[long_enough] - horizon_steps + 1).sum())
        self._reader, self._normalization = reader, normalization
        self._settings: dict[str, Any] = {
            "horizon_steps": horizon_steps,
            "cond_steps": cond_steps,
            "img_cond_steps": img_cond_steps,
            "device": device,
        }
        self._blocks = reader.row_group_blocks(chosen[long_enough])
        self._sizes = [float(reader.lengths[block].sum()) for block in self._blocks]
        self._frames = self._frames_of_a_pool(memory_limit)
        self.blocks_per_pool = self._frames / float(np.mean(self._sizes))

    def __len__(self) -> int:
        return self._samples

    def pools(self, generator: torch.Generator | None) -> Iterator[ActionChunks]:
        """One pass: every sample is in one of the pools.

        Args:
            generator: Shuffles the blocks; None keeps their order.

        Raises:
            ValueError: What is read is damaged; see `read_demonstrations`.
        """
        count = len(self._blocks)
        order = torch.arange(count)
        if generator is not None:
            order = torch.randperm(count, generator=generator)
        plan = self._plan(order.tolist())
        if len(plan) == 1:
            yield self._read(plan[0])
            return
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self._read, plan[0])
            for i in range(len(plan)):
                ready = coming.result()
                if i + 1 < len(plan):
                    coming = pool.submit(self._read, plan[i + 1])
                yield ready
                del ready

    def _plan(self, order: list[int]) -> list[Int64[np.ndarray, " n"]]:
        """Episodes of each pool, for blocks in this order."""
        pools: list[list[np.ndarray]] = [[]]
        filled = 0.0
        for block in order:
            if pools[-1] and filled + self._sizes[block] > self._frames:
                pools.append([])
                filled = 0.0
            pools[-1].append(self._blocks[block])
            filled += self._sizes[block]
        return [np.concatenate(blocks) for blocks in pools]

    def _read(self, episodes: Int64[np.ndarray, " n"]) -> ActionChunks:
        demonstrations = self._reader.read(episodes)
        return ActionChunks(demonstrations, self._normalization, **self._settings)

    def _frames_of_a_pool(self, memory_limit: float) -> float:
        """Two pools are there at a time: one is used, one is being made."""
        pictures = int(np.prod(self._reader.image_shape or 0))
        numbers = 4 * sum(self._reader.dims)
        used, made = numbers + pictures + _INDEX, _COPIES * numbers + pictures + 2 * _INDEX
        block = max(self._sizes)
        # While a row group is decoded, its rows are there twice.
        needed = block * (used + made + numbers + pictures)
        if memory_limit < needed:
            raise ValueError(
                f"memory limit is {memory_limit:,.0f} bytes, expected at least {needed:,.0f}: "
                f"{self._reader.root} has a row group of {block:,.0f} frames, which are read "
                "together; `dppo data convert` writes it anew in row groups of 1 MiB"
            )
        return (memory_limit - block * (numbers + pictures)) / (used + made)
