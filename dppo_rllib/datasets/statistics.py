"""Statistics of dataset columns, over everything and per episode, as LeRobot keeps them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, Shaped, UInt8

Statistics = dict[str, dict[str, np.ndarray]]
"""Column -> statistic (`min`, `max`, `mean`, `std`, `count`) -> `[D]`, of pictures `[C, 1, 1]`
(count: `[1]`)."""

SegmentStatistics = dict[str, Shaped[np.ndarray, "E ..."]]
"""Of one column: statistic -> a row for each of E segments."""

_LEVELS = 256
# Pictures that are counted at a time: it takes eight times their memory.
_BLOCK = 64


def segment_statistics(
    column: Shaped[np.ndarray, "M ..."], starts: Int64[np.ndarray, " E"]
) -> SegmentStatistics:
    """Statistics of each segment `column[starts[i] : starts[i + 1]]`, the last one to the end.

    `min` and `max` are exact and keep the column's dtype (a normalisation is made of them);
    `mean` and `std` (of the population) are float64. Those of pictures, `[M, C, H, W]`, are told
    for each channel, over all pixels, with brightness in [0, 1], as LeRobot does.

    Args:
        column: `[M]`, `[M, D]`, or pictures.
        starts: Ascending, the first is 0; no segment may be empty.

    Returns:
        `min`, `max`, `mean`, `std`: `[E, D]`, of pictures `[E, C, 1, 1]`; `count`: `[E, 1]`,
        rows.
    """
    if column.ndim == 4:
        return _picture_statistics(column, starts)
    values = column.reshape(len(column), -1)
    counts = np.diff(starts, append=len(values))[:, None]
    mean = np.add.reduceat(values, starts, dtype=np.float64) / counts
    deviation = values - np.repeat(mean, counts[:, 0], axis=0)
    return {
        "min": np.minimum.reduceat(values, starts),
        "max": np.maximum.reduceat(values, starts),
        "mean": mean,
        "std": np.sqrt(np.add.reduceat(deviation**2, starts) / counts),
        "count": counts,
    }


def merge_segments(
    segments: SegmentStatistics, before: dict[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Statistics of some segments of a column, taken together.

    Args:
        segments: As `segment_statistics` tells them.
        before: Statistics of other segments, that they shall be merged into.

    Returns:
        `min` and `max` exact and in their dtype, `mean` and `std` up to rounding.
    """
    if before is not None:
        segments = {k: np.concatenate([before[k][None], v]) for k, v in segments.items()}
    counts = segments["count"][:, 0]
    # Chan et al. 1983: deviations within the segments, and of their means.
    weights = (counts / counts.sum()).reshape(-1, *[1] * (segments["mean"].ndim - 1))
    mean = (weights * segments["mean"]).sum(axis=0)
    variance = (weights * (segments["std"] ** 2 + (segments["mean"] - mean) ** 2)).sum(axis=0)
    return {
        "min": segments["min"].min(axis=0),
        "max": segments["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": counts.sum(keepdims=True),
    }


def _picture_statistics(
    pictures: UInt8[np.ndarray, "M C H W"], starts: Int64[np.ndarray, " E"]
) -> SegmentStatistics:
    """From histograms, of which everything follows exactly."""
    counts = np.diff(starts, append=len(pictures))
    histograms = np.stack(
        [_histograms(pictures[i : i + n]) for i, n in zip(starts, counts, strict=True)]
    )
    levels = np.arange(_LEVELS) / (_LEVELS - 1)
    shares = histograms / histograms.sum(axis=2, keepdims=True)
    mean = shares @ levels
    present = histograms > 0
    statistics = {
        "min": levels[present.argmax(axis=2)],
        "max": levels[::-1][present[:, :, ::-1].argmax(axis=2)],
        "mean": mean,
        "std": np.sqrt((shares * (levels - mean[:, :, None]) ** 2).sum(axis=2)),
    }
    return {k: v[:, :, None, None] for k, v in statistics.items()} | {"count": counts[:, None]}


def _histograms(pictures: UInt8[np.ndarray, "M C H W"]) -> Int64[np.ndarray, "C 256"]:
    counts = np.zeros((pictures.shape[1], _LEVELS), np.int64)
    for start in range(0, len(pictures), _BLOCK):
        for channel in range(len(counts)):
            pixels = pictures[start : start + _BLOCK, channel].ravel()
            counts[channel] += np.bincount(pixels, minlength=_LEVELS)
    return counts
