import json

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo_rllib.datasets import read_demonstrations, read_statistics, write_demonstrations

ARRAYS = ("observations", "actions", "rewards", "terminated", "truncated", "episode_lengths")
DATA_FILE = "data/chunk-000/file-000.parquet"
EPISODES_FILE = "meta/episodes/chunk-000/file-000.parquet"


NAN = r"row group 0: row 8 \(episode 2\): action\[2\] is nan, expected a finite number"


def edit_info(dataset, **fields):
    file = dataset / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def edit_table(file, change):
    pq.write_table(change(pq.read_table(file)), file)


def replace_column(name, values):
    return lambda table: table.set_column(table.column_names.index(name), name, values(table[name]))


def fixed_list(values):
    values = np.asarray(values, dtype=np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def assert_same(left, right):
    for field in ARRAYS:
        found, expected = getattr(left, field), getattr(right, field)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected, err_msg=field)


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    dims=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_to_the_bit(
    tmp_path_factory, lengths, dims, seed, make_demonstrations
):
    demonstrations = make_demonstrations(
        tuple(lengths), dims[0], dims[1], seed, action_names=tuple("abcde"[: dims[1]])
    )
    path = write_demonstrations(demonstrations, tmp_path_factory.mktemp("d") / "d")
    read = read_demonstrations(path)
    assert_same(read, demonstrations)
    assert (read.fps, read.task) == (demonstrations.fps, demonstrations.task)
    assert read.observation_names is None
    assert read.action_names == demonstrations.action_names


def test_episodes_are_read_in_the_order_asked_for(dataset, demonstrations):
    assert_same(read_demonstrations(dataset, episodes=[2, 0]), demonstrations.select([2, 0]))


@pytest.mark.parametrize("episodes", [[], [3], [0, 0]])
def test_wrong_episodes_are_refused(dataset, episodes):
    with pytest.raises(ValueError, match="episodes"):
        read_demonstrations(dataset, episodes=episodes)


def test_statistics_give_the_exact_extremes(dataset, demonstrations):
    stats = read_statistics(dataset)
    found = stats["observation.state"]["min"].astype(np.float32)
    np.testing.assert_array_equal(found, demonstrations.observations.min(axis=0))
    assert stats["next.reward"]["max"].shape == (1,)


# Datasets of others


def test_lists_of_any_size_and_doubles_are_read(dataset, demonstrations):
    as_list = replace_column("action", lambda c: pa.array(c.to_pylist(), pa.list_(pa.float64())))
    edit_table(dataset / DATA_FILE, as_list)
    assert_same(read_demonstrations(dataset), demonstrations)


def test_rows_and_episodes_in_any_order_are_put_right(dataset, demonstrations):
    rng = np.random.default_rng(0)
    edit_table(dataset / DATA_FILE, lambda t: t.take(rng.permutation(len(t))))
    edit_table(dataset / EPISODES_FILE, lambda t: t.take([2, 0, 1]))
    assert_same(read_demonstrations(dataset), demonstrations)


def test_missing_rewards_and_ends_are_filled(dataset, demonstrations):
    names = ["next.reward", "next.done", "next.terminated", "next.truncated"]
    features = json.loads((dataset / "meta/info.json").read_text())["features"]
    edit_info(dataset, features={k: v for k, v in features.items() if k not in names})
    edit_table(dataset / DATA_FILE, lambda t: t.drop_columns(names))
    read = read_demonstrations(dataset)
    assert not read.rewards.any()
    assert not read.terminated.any()
    assert not read.truncated.any()
    np.testing.assert_array_equal(read.actions, demonstrations.actions)


def test_done_alone_is_a_termination(dataset):
    features = json.loads((dataset / "meta/info.json").read_text())["features"]
    kept = {k: v for k, v in features.items() if k not in ("next.terminated", "next.truncated")}
    edit_info(dataset, features=kept)
    # True for some frames after success: only an episode's last frame ends it.
    edit_table(
        dataset / DATA_FILE,
        replace_column("next.done", lambda c: pa.array([False] * 2 + [True] * 12)),
    )
    read = read_demonstrations(dataset)
    assert np.flatnonzero(read.terminated).tolist() == [4, 6, 13]
    assert not read.truncated.any()


def test_tasks_of_older_files_have_a_nameless_index(dataset):
    edit_table(
        dataset / "meta/tasks.parquet",
        lambda t: pa.table({"task_index": [0, 1], "__index_level_0__": ["push", "pull"]}),
    )
    assert read_demonstrations(dataset).task == "push; pull"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"motors": ["x", "y", "z"]}, ("x", "y", "z")),
        (["actions"], None),
        (["x", "y", "z"], ("x", "y", "z")),
        (None, None),
    ],
)
def test_names_come_in_several_shapes(dataset, names, expected):
    features = json.loads((dataset / "meta/info.json").read_text())["features"]
    features["action"]["names"] = names
    edit_info(dataset, features=features)
    assert read_demonstrations(dataset).action_names == expected


# What is broken says so


def test_missing_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is no directory"):
        read_demonstrations(tmp_path / "nowhere")


@pytest.mark.parametrize("file", ["meta/info.json", "meta/tasks.parquet", DATA_FILE])
def test_missing_file(dataset, file):
    (dataset / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        read_demonstrations(dataset)


def test_missing_episodes(dataset):
    (dataset / EPISODES_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no chunk-\*/file-\*\.parquet"):
        read_demonstrations(dataset)


@pytest.mark.parametrize("file", [DATA_FILE, EPISODES_FILE, "meta/tasks.parquet"])
@pytest.mark.parametrize("kept", [0.0, 0.3, 0.99])
def test_truncated_parquet(dataset, file, kept):
    content = (dataset / file).read_bytes()
    (dataset / file).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ValueError, match=f"{file}: is no readable Parquet file"):
        read_demonstrations(dataset)


def test_a_flipped_bit_is_found(tmp_path, make_demonstrations):
    demonstrations = make_demonstrations(lengths=(500,))
    path = write_demonstrations(demonstrations, tmp_path / "d")
    content = bytearray((path / DATA_FILE).read_bytes())
    content[2000] ^= 1  # within the floats of the states
    (path / DATA_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{DATA_FILE}: row group 0 \(episode 0\) is no r"):
        read_demonstrations(path)


def test_info_that_is_no_json(dataset):
    (dataset / "meta/info.json").write_text('{"codebase_version": ')
    with pytest.raises(ValueError, match=r"info\.json: is no JSON"):
        read_demonstrations(dataset)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"codebase_version": "v4.0"}, r"is 'v4.0', expected one of \['v2.0', 'v2.1', 'v3.0'\]"),
        ({"codebase_version": "v1.6"}, "is 'v1.6', expected one of .*; LeRobot's own scripts"),
        ({"codebase_version": None}, "codebase_version is None, expected one of"),
        ({"fps": "fast"}, "fps is 'fast', expected a number"),
        ({"fps": 0}, "fps is 0.0, expected a positive number"),
        ({"features": []}, r"features is \[\], expected an object"),
        ({"features": {"action": {"shape": [3]}}}, "no 'observation.state' with a shape"),
        ({"total_episodes": 4}, "total_episodes is 4, expected 3"),
        ({"data_path": "../{chunk_index}"}, "data_path is .*, expected one without '..'"),
        ({"data_path": "{episode}"}, "data_path is '{episode}', expected a template"),
    ],
)
def test_wrong_info(dataset, fields, message):
    edit_info(dataset, **fields)
    with pytest.raises(ValueError, match=message):
        read_demonstrations(dataset)


@pytest.mark.parametrize(
    ("file", "column"),
    [
        (DATA_FILE, "action"),
        (DATA_FILE, "observation.state"),
        (DATA_FILE, "next.reward"),
        (DATA_FILE, "frame_index"),
        (EPISODES_FILE, "length"),
    ],
)
def test_missing_column(dataset, file, column):
    edit_table(dataset / file, lambda t: t.drop_columns([column]))
    with pytest.raises(ValueError, match=f"{file}: has no column '{column}', only: "):
        read_demonstrations(dataset)


def test_nan_names_file_column_and_place(dataset, demonstrations):
    actions = demonstrations.actions.copy()
    actions[8, 2] = np.nan
    edit_table(dataset / DATA_FILE, replace_column("action", lambda c: fixed_list(actions)))
    with pytest.raises(ValueError, match=rf"{DATA_FILE}: {NAN}"):
        read_demonstrations(dataset)


def test_null_names_file_column_and_place(dataset):
    values = pa.array([1.0] * 6 + [None] + [1.0] * 7, pa.float32())
    edit_table(dataset / DATA_FILE, replace_column("next.reward", lambda c: values))
    with pytest.raises(ValueError, match=r"row group 0: row 6 \(episode 1\): next\.reward is null"):
        read_demonstrations(dataset)


def test_wrong_dimensions(dataset, demonstrations):
    narrow = replace_column("action", lambda c: fixed_list(demonstrations.actions[:, :2]))
    edit_table(dataset / DATA_FILE, narrow)
    with pytest.raises(ValueError, match="row 0 .episode 0.: action has 2 values, expected 3"):
        read_demonstrations(dataset)


def test_ragged_rows(dataset):
    rows = pa.array([[1.0, 2.0, 3.0]] * 13 + [[1.0]], pa.list_(pa.float32()))
    edit_table(dataset / DATA_FILE, replace_column("action", lambda c: rows))
    with pytest.raises(ValueError, match="row 13 .episode 2.: action has 1 values, expected 3"):
        read_demonstrations(dataset)


def test_scalars_where_lists_belong(dataset):
    edit_table(dataset / DATA_FILE, replace_column("action", lambda c: pa.array([1.0] * 14)))
    with pytest.raises(ValueError, match="action has 1 value, expected 3"):
        read_demonstrations(dataset)


def test_words_where_numbers_belong(dataset):
    edit_table(dataset / DATA_FILE, replace_column("next.reward", lambda c: pa.array(["a"] * 14)))
    with pytest.raises(ValueError, match=r"next\.reward is string, expected float32"):
        read_demonstrations(dataset)


def test_missing_frames(dataset):
    edit_table(dataset / DATA_FILE, lambda t: t.slice(0, 12))
    with pytest.raises(ValueError, match="episode 2 has 5 frames, expected 7"):
        read_demonstrations(dataset)


def test_frames_with_a_gap(dataset):
    shifted = replace_column("frame_index", lambda c: pc.if_else(pc.equal(c, 6), 7, c))
    edit_table(dataset / DATA_FILE, shifted)
    with pytest.raises(ValueError, match="frame_index of episode 2 is .*, expected 0 to 6"):
        read_demonstrations(dataset)


def test_a_frame_that_is_there_twice(dataset):
    twice = replace_column("frame_index", lambda c: pc.if_else(pc.equal(c, 6), 5, c))
    edit_table(dataset / DATA_FILE, twice)
    with pytest.raises(ValueError, match="frame_index of episode 2 lacks 6"):
        read_demonstrations(dataset)


def test_only_row_groups_of_the_episodes_are_read(tmp_path, make_demonstrations):
    demonstrations = make_demonstrations(lengths=(9000,) * 12, observation_dim=20)
    path = write_demonstrations(demonstrations, tmp_path / "d")
    content = bytearray((path / DATA_FILE).read_bytes())
    content[2000] ^= 1  # within the first row group
    (path / DATA_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"row group 0 \(episode 0\) is no readable part"):
        read_demonstrations(path, episodes=[0])
    read = read_demonstrations(path, episodes=[11, 7])
    assert_same(read, demonstrations.select([11, 7]))


def test_an_empty_episode_is_refused(dataset):
    edit_table(dataset / EPISODES_FILE, replace_column("length", lambda c: pa.array([5, 0, 7])))
    with pytest.raises(ValueError, match="length of episode 1 is 0, expected at least 1"):
        read_demonstrations(dataset)


def test_no_episodes(dataset):
    edit_table(dataset / EPISODES_FILE, lambda t: t.slice(0, 0))
    with pytest.raises(ValueError, match="has no rows, expected at least one episode"):
        read_demonstrations(dataset)


def test_episode_rows_with_a_gap(dataset):
    edit_table(dataset / EPISODES_FILE, lambda t: t.take([0, 2]))
    with pytest.raises(ValueError, match=r"episode_index is \[0 2\], expected each of 0 to 1 once"):
        read_demonstrations(dataset)


def test_statistics_of_some_episodes_are_those_of_their_frames(dataset, demonstrations):
    some = demonstrations.select([2, 0])
    stats = read_statistics(dataset, episodes=[2, 0])
    for column, values in (("observation.state", some.observations), ("action", some.actions)):
        for key in ("min", "max"):
            found = stats[column][key].astype(np.float32)
            np.testing.assert_array_equal(found, getattr(values, key)(axis=0))
        np.testing.assert_allclose(stats[column]["std"], values.std(axis=0, dtype=np.float64))
        assert stats[column]["count"].tolist() == [12]


def test_missing_statistics(dataset):
    (dataset / "meta/stats.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"stats\.json is missing"):
        read_statistics(dataset)
