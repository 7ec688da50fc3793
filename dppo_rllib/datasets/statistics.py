"""Statistics of dataset columns, over everything and per episode, as LeRobot keeps them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64, Shaped

Statistics = dict[str, dict[str, np.ndarray]]
"""Column -> statistic (`min`, `max`, `mean`, `std`, `count`) -> `[D]` (count: `[1]`)."""


def segment_statistics(
    column: Shaped[np.ndarray, "M ..."], starts: Int64[np.ndarray, " E"]
) -> dict[str, Shaped[np.ndarray, "E _"]]:
    """Statistics of each segment `column[starts[i] : starts[i + 1]]`, the last one to the end.

    `min` and `max` are exact and keep the column's dtype (a normalisation is made of them);
    `mean` and `std` (of the population) are float64.

    Args:
        column: `[M]` or `[M, D]`.
        starts: Ascending, the first is 0; no segment may be empty.

    Returns:
        `min`, `max`, `mean`, `std`: `[E, D]`; `count`: `[E, 1]`.
    """
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


def column_statistics(columns: dict[str, np.ndarray]) -> Statistics:
    """Statistics of whole columns (each `[M]` or `[M, D]`)."""
    everything = np.zeros(1, dtype=np.int64)
    return {
        name: {key: value[0] for key, value in segment_statistics(column, everything).items()}
        for name, column in columns.items()
    }
