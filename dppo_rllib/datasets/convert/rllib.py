"""RLlib's offline Parquet files: episodes of the new API stack, or a row a step.

Recorded with `config.offline_data(output=…)`: a binary column `item`, each row the state of a
`SingleAgentEpisode`, or with `output_write_episodes=False` the columns `eps_id`, `obs`, `actions`,
`rewards`, `terminateds`, `truncateds`, which also were those of the old stack (there with `dones`).

Runners record what one call of `sample` gave: an episode may come in pieces, between those of
others. A piece says where it starts, or comes after those before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Shaped

from dppo_rllib.datasets.convert.one_episode import joined_observations, one_episode
from dppo_rllib.datasets.convert.rllib_values import as_rows, flattened, unpack_episode
from dppo_rllib.datasets.demonstrations import Demonstrations

_EPISODES = "item"
_STEPS = ("obs", "actions")
_ENDS = ("terminateds", "dones")
_BATCH_ROWS = 4096


@dataclass
class _Piece:
    """Some steps of an episode, from `start` on."""

    where: str
    start: int
    observations: dict[str, Shaped[np.ndarray, "T ..."]]
    actions: Shaped[np.ndarray, "T ..."]
    rewards: Shaped[np.ndarray, " T"]
    terminated: bool
    truncated: bool


def rllib_episodes(
    path: str | Path,
    *,
    fps: float | int,
    task: str = "",
    observation: Sequence[str] = (),
    max_episodes: int | None = None,
) -> Iterator[Demonstrations]:
    """Read RLlib's offline Parquet files, in the order of their names.

    Args:
        path: A file, or a directory that is searched for `*.parquet`.
        fps: Environment steps per second, which RLlib does not record.
        task: What is done, in words.
        observation: Of observations that are a dictionary, those that make ours; see
            `minari_episodes`.
        max_episodes: Take the first ones that are complete; None takes all.

    Yields:
        Episodes in the order in which they are complete; besides, those that are not yet are in
        memory. Those that never are just stop.

    Raises:
        FileNotFoundError: There is no file.
        ValueError: A file is damaged or none of RLlib's, a piece of an episode is missing, or
            `observation` does not name what is there.
    """
    waiting: dict[str, list[_Piece]] = {}
    done = 0

    def joined(pieces: list[_Piece]) -> Demonstrations:
        return _joined(pieces, observation, fps, task)

    for file in parquet_files(Path(path)):
        for name, piece in _pieces(file, waiting):
            waiting.setdefault(name, []).append(piece)
            pieces = waiting[name]
            if any(p.terminated or p.truncated for p in pieces) and _whole(pieces):
                if done == max_episodes:
                    return
                done += 1
                yield joined(waiting.pop(name))
    for pieces in waiting.values():
        if done == max_episodes:
            return
        done += 1
        yield joined(pieces)


def parquet_files(path: Path) -> list[Path]:
    """The Parquet files of a recording.

    Raises:
        FileNotFoundError: There are none.
    """
    files = [path] if path.is_file() else sorted(path.rglob("*.parquet"))
    if not files:
        raise FileNotFoundError(f"{path}: holds no .parquet file, expected at least one")
    return files


def is_rllib(columns: Sequence[str]) -> bool:
    """Whether a Parquet file with these columns is one of RLlib's."""
    return _EPISODES in columns or all(name in columns for name in _STEPS)


def _whole(pieces: list[_Piece]) -> bool:
    """Whether all steps from the first of the episode to its end are there."""
    pieces.sort(key=lambda piece: piece.start)
    ends = [piece.start + len(piece.actions) for piece in pieces]
    starts = [piece.start for piece in pieces]
    last = pieces[-1]
    return starts == [0, *ends[:-1]] and (last.terminated or last.truncated)


def _joined(
    pieces: list[_Piece], observation: Sequence[str], fps: float | int, task: str
) -> Demonstrations:
    pieces.sort(key=lambda piece: piece.start)
    first, last, expected = pieces[0], pieces[-1], pieces[0].start
    for piece in pieces:
        if piece.start != expected:
            raise ValueError(
                f"{piece.where}: a piece begins at step {piece.start}, expected {expected}: steps "
                "between are missing or recorded twice"
            )
        if set(piece.observations) != set(first.observations):
            raise ValueError(
                f"{piece.where}: observations are of {sorted(piece.observations)}, expected "
                f"{sorted(first.observations)}"
            )
        expected += len(piece.actions)
    observed = {
        name: np.concatenate([piece.observations[name] for piece in pieces])
        for name in _names(observation, first)
    }
    return one_episode(
        first.where,
        **joined_observations(observed, first.where),
        actions=np.concatenate([piece.actions for piece in pieces]),
        rewards=np.concatenate([piece.rewards for piece in pieces]),
        terminated=last.terminated,
        truncated=last.truncated,
        fps=fps,
        task=task,
    )


def _names(observation: Sequence[str], piece: _Piece) -> Sequence[str]:
    found = ", ".join(sorted(piece.observations))
    if list(piece.observations) == [""]:
        if observation:
            raise ValueError(
                f"{piece.where}: observation is {list(observation)}, expected none: there is one "
                "array"
            )
        return [""]
    if not observation:
        raise ValueError(
            f"{piece.where}: observations are of {found}; expected observation to name some"
        )
    for name in observation:
        if name not in piece.observations:
            raise ValueError(f"{piece.where}: observations have no {name!r}, only: {found}")
    return observation


def _pieces(file: Path, waiting: dict[str, list[_Piece]]) -> Iterator[tuple[str, _Piece]]:
    """What a file holds, with the names of the episodes."""
    try:
        with pq.ParquetFile(file, memory_map=True) as parquet:
            columns = parquet.schema_arrow.names
            if not is_rllib(columns):
                raise ValueError(
                    f"{file}: has columns {', '.join(columns)}, expected {_EPISODES!r}, or "
                    f"{' and '.join(_STEPS)}"
                )
            for group in range(parquet.num_row_groups):
                where = f"{file}: row group {group}"
                for batch in _batches(parquet, group, where):
                    if _EPISODES in columns:
                        yield from _episode_pieces(batch, where)
                    else:
                        yield from _step_pieces(batch, where, waiting)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{file}: is no readable Parquet file ({error})") from error


def _batches(parquet: pq.ParquetFile, group: int, where: str) -> Iterator[pa.RecordBatch]:
    try:
        yield from parquet.iter_batches(_BATCH_ROWS, row_groups=[group])
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{where} is no readable part of a Parquet file ({error})") from error


def _episode_pieces(batch: pa.RecordBatch, where: str) -> Iterator[tuple[str, _Piece]]:
    column = batch.column(batch.schema.get_field_index(_EPISODES))
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        raise ValueError(f"{where}: {_EPISODES} is {column.type}, expected binary")
    for item in column:
        state = unpack_episode(item.as_py(), where)
        name = str(state["id_"])
        at = f"{where}: episode {name}"
        if state.get("agent_id") is not None and state.get("multi_agent_episode_id") is not None:
            raise ValueError(f"{at}: is of several agents, expected one")
        values = {key: _recorded(state[key], at) for key in ("observations", "actions", "rewards")}
        steps = len(values["rewards"])
        if not steps:
            continue  # a piece that was cut right after its reset
        rows = [flattened(value) for value in values["observations"][:steps]]
        yield (
            name,
            _Piece(
                at,
                int(state["t_started"]),
                {key: np.stack([row[key] for row in rows]) for key in rows[0]},
                np.stack([np.asarray(action) for action in values["actions"]]),
                np.asarray(values["rewards"], np.float64),
                bool(state["is_terminated"]),
                bool(state["is_truncated"]),
            ),
        )


def _recorded(buffer: dict[str, Any], where: str) -> Sequence[Any]:
    """Of an `InfiniteLookbackBuffer`, what is not of an earlier piece."""
    data = buffer["data"]
    if isinstance(data, dict):
        raise ValueError(f"{where}: values are stacked by name, expected one step after the other")
    return data[int(buffer["lookback"]) :]


def _step_pieces(
    batch: pa.RecordBatch, where: str, waiting: dict[str, list[_Piece]]
) -> Iterator[tuple[str, _Piece]]:
    columns = {field.name: (batch.column(i), field) for i, field in enumerate(batch.schema)}
    rows = batch.num_rows
    if _is_nested(columns.get("rewards")):
        raise ValueError(
            f"{where}: a row is a whole batch of the old API stack, expected a step (record with "
            "output_write_episodes=False, or read it with RLlib itself)"
        )

    def read(name: str, otherwise: Any) -> Any:
        if name not in columns:
            return otherwise
        return as_rows(*columns[name], f"{where}: {name}")[""]

    observations = as_rows(*columns["obs"], f"{where}: obs")
    actions = read("actions", None)
    rewards = read("rewards", np.zeros(rows))
    ended = next((read(name, None) for name in _ENDS if name in columns), np.zeros(rows, bool))
    cut = read("truncateds", np.zeros(rows, bool))
    ids = columns["eps_id"][0].to_pylist() if "eps_id" in columns else [""] * rows
    times = read("t", None)
    # A piece ends where another episode begins, and after an end.
    last = np.array([a != b for a, b in zip(ids, [*ids[1:], None], strict=True)], bool)
    bounds = np.flatnonzero(last | ended.astype(bool) | cut.astype(bool)) + 1
    for start, end in zip([0, *bounds[:-1].tolist()], bounds.tolist(), strict=True):
        name, at = str(ids[start]), f"{where}: episode {ids[start]}"
        if times is None:
            begins = sum(len(piece.actions) for piece in waiting.get(name, ()))
        else:
            begins = int(times[start])
        part = slice(start, end)
        yield (
            name,
            _Piece(
                at,
                begins,
                {key: values[part] for key, values in observations.items()},
                actions[part],
                rewards[part],
                bool(ended[end - 1]),
                bool(cut[end - 1]),
            ),
        )


def _is_nested(column: tuple[pa.Array, pa.Field] | None) -> bool:
    return column is not None and pa.types.is_nested(column[0].type)
