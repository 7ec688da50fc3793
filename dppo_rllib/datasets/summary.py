"""What a dataset holds, told without trusting it: ranges, gaps, returns, ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Float64, Int64

from dppo_rllib.datasets.lerobot_frames import RowGroup, row_groups
from dppo_rllib.datasets.lerobot_layout import (
    ACTION,
    DONE,
    OBSERVATION,
    REWARD,
    SUCCESS,
    TERMINATED,
    TRUNCATED,
    VIDEO,
)
from dppo_rllib.datasets.lerobot_reader import DatasetReader

# Frames that are kept for plots, spread evenly.
_SAMPLE = 20_000


@dataclass(eq=False)
class ColumnSummary:
    """Of a column's dimensions, over all frames.

    Attributes:
        names: Of the dimensions.
        count: `[D]`, finite values.
        missing: `[D]`, values that are NaN, infinite or null.
        min: `[D]`, of finite values, as all that follows; inf where there are none.
        max: `[D]`.
        mean: `[D]`.
        std: `[D]`.
        sample: `[n, D]`, some rows.
    """

    names: tuple[str, ...]
    count: Int64[np.ndarray, " D"]
    missing: Int64[np.ndarray, " D"]
    min: Float64[np.ndarray, " D"]
    max: Float64[np.ndarray, " D"]
    mean: Float64[np.ndarray, " D"]
    std: Float64[np.ndarray, " D"]
    sample: Float[np.ndarray, "n D"]

    @property
    def constant(self) -> Bool[np.ndarray, " D"]:
        """Dimensions that never change."""
        return (self.count > 0) & (self.min == self.max)


@dataclass(frozen=True, eq=False)
class Summary:
    """Of a dataset.

    Attributes:
        version: Of the format.
        task: What is done, in words.
        fps: Environment steps per second.
        lengths: `[E]`, of the episodes in frames.
        bytes: On the disk.
        cameras: By name, what its pictures are.
        columns: Summaries of `observation.state`, `action` and, where there are some, rewards.
        returns: `[E]`, undiscounted; None without rewards.
        ends: How many episodes end in which way.
        success: `[E]`, in any frame; None without `next.success`. Rewards do not tell it: 1 may be
            one of several subtasks.
    """

    version: str
    task: str
    fps: float
    lengths: Int64[np.ndarray, " E"]
    bytes: int
    cameras: dict[str, str]
    columns: dict[str, ColumnSummary]
    returns: Float64[np.ndarray, " E"] | None
    ends: dict[str, int]
    success: Bool[np.ndarray, " E"] | None


def summarize(path: str | Path) -> Summary:
    """Reads a dataset once, a row group at a time, pictures left out.

    Values that training would refuse (NaN, null) are counted, not refused.

    Args:
        path: The dataset's directory.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged, or rows are of another width than declared.
    """
    reader = DatasetReader(path, cameras=())
    scan = _Scan(reader)
    for block in reader.blocks(np.inf):
        for group in row_groups(reader.files[int(block[0])], scan.read, block):
            scan.add(group)
    return Summary(
        version=reader.info["codebase_version"],
        task=reader.task,
        fps=reader.fps,
        lengths=reader.lengths,
        bytes=sum(file.stat().st_size for file in reader.root.rglob("*") if file.is_file()),
        cameras=_cameras(reader),
        columns={name: tally.summary() for name, tally in scan.tallies.items()},
        returns=scan.returns if REWARD in scan.read else None,
        ends=scan.ends(),
        success=scan.flagged.get(SUCCESS),
    )


def _cameras(reader: DatasetReader) -> dict[str, str]:
    found = {}
    for column, feature in reader.info["features"].items():
        if column.startswith("observation.image"):
            shape = " x ".join(map(str, feature.get("shape", ())))
            kind = "video" if feature.get("dtype") == VIDEO else "pictures in the tables"
            found[column] = f"{shape}, {kind}"
    return found


class _Scan:
    """What is found row group by row group."""

    def __init__(self, reader: DatasetReader) -> None:
        features = reader.info["features"]
        optional = (REWARD, DONE, TERMINATED, TRUNCATED, SUCCESS)
        self._flags = [name for name in optional[1:] if name in features]
        numbers = [OBSERVATION, ACTION, *([REWARD] if REWARD in features else [])]
        self.read = ["episode_index", "frame_index", *numbers, *self._flags]
        stride = max(1, -(-reader.num_frames // _SAMPLE))
        dims = dict(zip((OBSERVATION, ACTION), reader.dims, strict=True))
        self.tallies = {
            name: _Tally(reader.names(name), dims.get(name, 1), stride) for name in numbers
        }
        self.returns = np.zeros(reader.num_episodes)
        self._last = reader.lengths - 1
        self.flagged = {name: np.zeros(reader.num_episodes, bool) for name in self._flags}

    def add(self, group: RowGroup) -> None:
        for name, tally in self.tallies.items():
            values = tally.values(group, name)
            tally.add(values)
            if name == REWARD:
                rewards = np.nan_to_num(values[:, 0], posinf=0, neginf=0)
                np.add.at(self.returns, group.episodes, rewards)
        frames = group.table["frame_index"].to_numpy()
        last = frames == self._last[group.episodes]
        for name in self._flags:
            flags = pc.fill_null(group.table[name], False).to_numpy().astype(bool)
            # Success may come before the end; only the last frame ends an episode.
            counted = flags if name == SUCCESS else flags & last
            self.flagged[name][group.episodes[counted]] = True

    def ends(self) -> dict[str, int]:
        """By way of ending."""
        none = np.zeros(len(self.returns), bool)
        terminated = self.flagged.get(TERMINATED, self.flagged.get(DONE, none))
        truncated = self.flagged.get(TRUNCATED, none) & ~terminated
        return {
            "terminated": int(terminated.sum()),
            "truncated": int(truncated.sum()),
            "just stop": int((~terminated & ~truncated).sum()),
        }


@dataclass(eq=False)
class _Tally:
    """Moments of a column that grow."""

    names: tuple[str, ...] | None
    dim: int
    stride: int
    seen: int = 0
    sample: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.count = np.zeros(self.dim, np.int64)
        self.missing = np.zeros(self.dim, np.int64)
        self.low, self.high = np.full(self.dim, np.inf), np.full(self.dim, -np.inf)
        self.mean, self.squares = np.zeros(self.dim), np.zeros(self.dim)

    def values(self, group: RowGroup, name: str) -> Float64[np.ndarray, "m D"]:
        """The column with NaN for what is null."""
        column = pa.chunked_array(group.table[name]).combine_chunks()
        rows = np.full((len(column), self.dim), np.nan)
        present = column.is_valid().to_numpy(zero_copy_only=False)
        column = column.drop_null()
        if pa.types.is_nested(column.type):
            lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
            if (lengths != self.dim).any():
                row = int(np.flatnonzero(present)[np.argmax(lengths != self.dim)])
                wrong = lengths[lengths != self.dim][0]
                raise ValueError(
                    f"{group.place(row)}: {name} has {wrong} values, expected {self.dim}"
                )
            column = column.flatten()
        try:
            values = column.to_numpy(zero_copy_only=False).astype(np.float64)
            rows[present] = values.reshape(-1, self.dim)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{group.where}: {name} is {column.type}, expected numbers") from error
        return rows

    def add(self, values: Float64[np.ndarray, "m D"]) -> None:
        self.sample.append(values[-self.seen % self.stride :: self.stride].copy())
        self.seen += len(values)
        finite = np.isfinite(values)
        count = finite.sum(axis=0)
        self.missing += len(values) - count
        self.low = np.minimum(
            self.low, np.where(finite, values, np.inf).min(axis=0, initial=np.inf)
        )
        self.high = np.maximum(
            self.high, np.where(finite, values, -np.inf).max(axis=0, initial=-np.inf)
        )
        # Chan et al. 1983, each dimension by itself.
        kept = np.where(finite, values, 0)
        mean = kept.sum(axis=0) / np.maximum(count, 1)
        deviations = np.where(finite, values - mean, 0)
        total = np.maximum(self.count + count, 1)
        apart = mean - self.mean
        self.squares += (deviations**2).sum(axis=0) + apart**2 * self.count * count / total
        self.mean = self.mean + apart * count / total
        self.count = self.count + count

    def summary(self) -> ColumnSummary:
        return ColumnSummary(
            names=self.names or tuple(str(i) for i in range(self.dim)),
            count=self.count,
            missing=self.missing,
            min=self.low,
            max=self.high,
            mean=self.mean,
            std=np.sqrt(self.squares / np.maximum(self.count, 1)),
            sample=np.concatenate(self.sample) if self.sample else np.empty((0, self.dim)),
        )
