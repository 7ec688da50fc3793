"""The layout on disk, against the written specification of LeRobot v3.0."""

import json
import weakref
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dppo_rllib.datasets import read_demonstrations, write_demonstrations

DATA_FILE = "data/chunk-000/file-000.parquet"
EPISODES_FILE = "meta/episodes/chunk-000/file-000.parquet"
COLUMNS = {
    "observation.state": pa.list_(pa.float32(), 4),
    "action": pa.list_(pa.float32(), 3),
    "next.reward": pa.float32(),
    "next.done": pa.bool_(),
    "next.terminated": pa.bool_(),
    "next.truncated": pa.bool_(),
    "timestamp": pa.float32(),
    "frame_index": pa.int64(),
    "episode_index": pa.int64(),
    "index": pa.int64(),
    "task_index": pa.int64(),
}


def test_files_are_those_of_the_layout(dataset):
    found = sorted(str(p.relative_to(dataset)) for p in dataset.rglob("*") if p.is_file())
    expected = ["meta/info.json", "meta/stats.json", "meta/tasks.parquet"]
    assert found == sorted([DATA_FILE, EPISODES_FILE, *expected])


def test_info_has_every_field(tmp_path, make_demonstrations):
    demonstrations = make_demonstrations(action_names=("x", "y", "z"))
    path = write_demonstrations(demonstrations, tmp_path / "d", robot_type="panda")
    info = json.loads((path / "meta/info.json").read_text())
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "panda",
        "total_episodes": 3,
        "total_frames": 14,
        "total_tasks": 1,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 20,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": None,
    }
    assert isinstance(info["fps"], int)
    assert list(features) == list(COLUMNS)
    assert features["observation.state"] == {"dtype": "float32", "shape": [4], "names": None}
    assert features["action"] == {"dtype": "float32", "shape": [3], "names": ["x", "y", "z"]}
    assert features["next.done"] == {"dtype": "bool", "shape": [1], "names": None}
    assert features["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    assert features["index"] == {"dtype": "int64", "shape": [1], "names": None}


def test_success_has_lerobots_column_where_it_is_known(tmp_path, make_demonstrations):
    root = write_demonstrations(make_demonstrations(success=np.ones(14, bool)), tmp_path / "d")
    info = json.loads((root / "meta/info.json").read_text())
    assert info["features"]["next.success"] == {"dtype": "bool", "shape": [1], "names": None}
    assert pq.read_table(root / DATA_FILE)["next.success"].type == pa.bool_()
    assert json.loads((root / "meta/stats.json").read_text())["next.success"]["mean"] == [1.0]


def test_a_fraction_of_fps_is_kept(tmp_path, make_demonstrations):
    path = write_demonstrations(make_demonstrations(fps=12.5), tmp_path / "d")
    assert json.loads((path / "meta/info.json").read_text())["fps"] == 12.5
    assert read_demonstrations(path).fps == 12.5


def test_data_columns_and_types(dataset):
    schema = pq.read_schema(dataset / DATA_FILE)
    assert {field.name: field.type for field in schema} == COLUMNS


def test_one_dimension_is_a_scalar_column(tmp_path, make_demonstrations):
    demonstrations = make_demonstrations(action_dim=1)
    path = write_demonstrations(demonstrations, tmp_path / "d")
    assert pq.read_schema(path / DATA_FILE).field("action").type == pa.float32()
    np.testing.assert_array_equal(read_demonstrations(path).actions, demonstrations.actions)


def test_frame_counters_and_ends(dataset, demonstrations):
    table = pq.read_table(dataset / DATA_FILE).to_pydict()
    assert table["index"] == list(range(14))
    assert table["episode_index"] == [0] * 5 + [1] * 2 + [2] * 7
    assert table["frame_index"] == [*range(5), *range(2), *range(7)]
    assert table["task_index"] == [0] * 14
    np.testing.assert_allclose(table["timestamp"], np.array(table["frame_index"]) / 20, rtol=1e-6)
    assert np.flatnonzero(table["next.done"]).tolist() == [4, 6, 13]
    assert np.flatnonzero(table["next.terminated"]).tolist() == [4, 13]
    assert np.flatnonzero(table["next.truncated"]).tolist() == [6]


def test_episode_rows(dataset, demonstrations):
    rows = pq.read_table(dataset / EPISODES_FILE).to_pylist()
    assert [row["episode_index"] for row in rows] == [0, 1, 2]
    assert [row["length"] for row in rows] == [5, 2, 7]
    assert [row["dataset_from_index"] for row in rows] == [0, 5, 7]
    assert [row["dataset_to_index"] for row in rows] == [5, 7, 14]
    assert all(row["tasks"] == ["lift the cube"] for row in rows)
    for part in ("data", "meta/episodes"):
        assert all(row[f"{part}/{kind}_index"] == 0 for row in rows for kind in ("chunk", "file"))
    assert rows[1]["stats/action/max"] == demonstrations.actions[5:7].max(axis=0).tolist()
    assert rows[1]["stats/action/count"] == [2]
    stats = {name for name in rows[0] if name.startswith("stats/")}
    kinds = ("min", "max", "mean", "std", "count")
    assert stats == {f"stats/{column}/{kind}" for column in COLUMNS for kind in kinds}


def test_stats_hold_exact_extremes(dataset, demonstrations):
    stats = json.loads((dataset / "meta/stats.json").read_text())
    assert set(stats) == set(COLUMNS)
    for column, values in (
        ("observation.state", demonstrations.observations),
        ("action", demonstrations.actions),
    ):
        for kind in ("min", "max"):
            read = np.array(stats[column][kind]).astype(np.float32)
            np.testing.assert_array_equal(read, getattr(values, kind)(axis=0))
    assert stats["action"]["count"] == [14]
    assert stats["next.reward"]["min"] == [float(demonstrations.rewards.min())]


def test_tasks_are_indexed_by_their_words_in_pandas(dataset):
    pandas = pytest.importorskip("pandas")
    tasks = pandas.read_parquet(dataset / "meta/tasks.parquet")
    assert tasks.index.tolist() == ["lift the cube"]
    assert int(tasks.loc["lift the cube"].task_index) == 0


def test_large_datasets_take_several_files(tmp_path, make_demonstrations):
    demonstrations = make_demonstrations(lengths=(6000,) * 7, observation_dim=20)
    path = write_demonstrations(
        demonstrations, tmp_path / "d", data_files_size_in_mb=1, chunks_size=2
    )
    files = sorted(str(p.relative_to(path)) for p in (path / "data").rglob("*.parquet"))
    names = ["chunk-000/file-000", "chunk-000/file-001", "chunk-001/file-000", "chunk-001/file-001"]
    assert files[:4] == [f"data/{name}.parquet" for name in names]
    read = read_demonstrations(path)
    np.testing.assert_array_equal(read.observations, demonstrations.observations)
    some = read_demonstrations(path, episodes=[6, 2])
    expected = demonstrations.select([6, 2])
    np.testing.assert_array_equal(some.actions, expected.actions)


def parts_of(demonstrations, sizes):
    bounds = np.cumsum([0, *sizes])
    return [demonstrations.select(range(a, b)) for a, b in pairwise(bounds)]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1, 1, 1), (3, 4), (7,)])
def test_parts_make_the_same_files_as_the_whole(tmp_path, make_demonstrations, sizes):
    whole = make_demonstrations(lengths=(6000,) * 7, observation_dim=20)
    options = {"data_files_size_in_mb": 2, "chunks_size": 2}
    write_demonstrations(whole, tmp_path / "whole", **options)
    write_demonstrations(iter(parts_of(whole, sizes)), tmp_path / "parts", **options)
    for file in (tmp_path / "whole").rglob("*.*"):
        other = tmp_path / "parts" / file.relative_to(tmp_path / "whole")
        assert file.read_bytes() == other.read_bytes(), file


def test_row_groups_hold_whole_episodes(tmp_path, make_demonstrations):
    whole = make_demonstrations(lengths=(9000,) * 12, observation_dim=20)
    file = write_demonstrations(whole, tmp_path / "d") / DATA_FILE
    with pq.ParquetFile(file) as parquet:
        groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    assert len(groups) > 1 and sum(groups) == 108_000
    assert all(rows % 9000 == 0 for rows in groups)


def test_parts_are_let_go_once_they_are_written(tmp_path, make_demonstrations):
    alive = []

    def parts():
        for seed in range(60):
            part = make_demonstrations(lengths=(5000,), observation_dim=20, seed=seed)
            reference = weakref.ref(part.observations)
            alive.append(reference)
            yield part
            del part
            # A row group takes two of them.
            assert sum(reference() is not None for reference in alive) <= 4

    path = write_demonstrations(parts(), tmp_path / "d")
    assert read_demonstrations(path).num_episodes == 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_dim": 2}, r"episode 3: actions' width is \(2,\), expected \(3,\)"),
        ({"fps": 5.0}, "episode 3: fps is 5.0, expected 20.0, as in those before it"),
        ({"task": "push"}, "episode 3: task is 'push', expected 'lift the cube'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, make_demonstrations, change, message):
    parts = [make_demonstrations(), make_demonstrations(**change)]
    with pytest.raises(ValueError, match=message):
        write_demonstrations(parts, tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_no_parts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="have no part, expected at least one episode"):
        write_demonstrations(iter(()), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_existing_dataset_is_kept_unless_overwritten(dataset, make_demonstrations):
    other = make_demonstrations(lengths=(3,))
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_demonstrations(other, dataset)
    assert read_demonstrations(dataset).num_episodes == 3
    write_demonstrations(other, dataset, overwrite=True)
    assert read_demonstrations(dataset).num_episodes == 1


def test_overwrite_replaces_nothing_but_datasets(tmp_path, demonstrations):
    (tmp_path / "thesis").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"holds no meta/info\.json"):
        write_demonstrations(demonstrations, tmp_path, overwrite=True)
    assert (tmp_path / "thesis").exists()


def test_exception_in_the_middle_leaves_nothing(tmp_path, make_demonstrations):
    # A lone surrogate is no UTF-8: info.json and stats.json are written, tasks.parquet fails.
    with pytest.raises(UnicodeEncodeError):
        write_demonstrations(make_demonstrations(task="\ud800"), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


def test_invalid_demonstrations_are_not_written(tmp_path, make_demonstrations):
    rewards = np.full(14, np.nan, dtype=np.float32)
    with pytest.raises(ValueError, match=r"rewards\[0\] is nan"):
        write_demonstrations(make_demonstrations(rewards=rewards), tmp_path / "d")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("field", ["data_files_size_in_mb", "chunks_size"])
def test_limits_are_positive(tmp_path, demonstrations, field):
    with pytest.raises(ValueError, match=f"{field} is 0, expected at least 1"):
        write_demonstrations(demonstrations, tmp_path / "d", **{field: 0})


def test_noise_costs_no_more_than_its_bytes(tmp_path, make_demonstrations):
    demonstrations = make_demonstrations(lengths=(500,) * 60, observation_dim=11)
    path = write_demonstrations(demonstrations, tmp_path / "d")
    assert (path / DATA_FILE).stat().st_size < 30_000 * 15 * 4
