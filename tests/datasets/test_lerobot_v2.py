"""Datasets of LeRobot v2.1 and v2.0, against the written specification."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_v2_files import write_lines, write_old

from dppo_rllib.datasets import (
    read_demonstrations,
    read_image_shape,
    read_statistics,
    write_demonstrations,
)
from dppo_rllib.datasets.convert import lerobot_episodes

LAST_FILE = "data/chunk-001/episode_000002.parquet"


@pytest.fixture
def old(tmp_path, filmed):
    return write_old(filmed, tmp_path / "old")


@pytest.mark.parametrize("version", ["v2.0", "v2.1"])
def test_episodes_are_read(tmp_path, filmed, version):
    read = read_demonstrations(write_old(filmed, tmp_path / "old", version))
    for name in ("observations", "actions", "rewards", "terminated", "truncated", "images"):
        np.testing.assert_array_equal(getattr(read, name), getattr(filmed, name))
    assert read.episode_lengths.tolist() == [5, 2, 7]
    assert (read.fps, read.task, read.camera_names) == (20, "lift; drop", ("wrist", "front"))


def test_only_the_files_of_the_episodes_are_opened(old, filmed):
    (old / "data/chunk-000/episode_000000.parquet").write_bytes(b"damaged")
    read = read_demonstrations(old, episodes=[2, 1], cameras=["front"])
    np.testing.assert_array_equal(read.images, filmed.select([2, 1]).images[:, 3:])
    assert read_image_shape(old) == (6, 5, 4)


def test_statistics_are_merged_from_those_of_the_episodes(old, filmed):
    stats = read_statistics(old)["action"]
    np.testing.assert_array_equal(stats["min"].astype(np.float32), filmed.actions.min(axis=0))
    np.testing.assert_allclose(stats["std"], filmed.actions.std(axis=0, dtype=np.float64))
    some = read_statistics(old, episodes=[1])["action"]
    expected = filmed.actions[5:7].max(axis=0)
    np.testing.assert_array_equal(some["max"].astype(np.float32), expected)


def test_v2_0_tells_statistics_of_the_whole(tmp_path, filmed):
    old = write_old(filmed, tmp_path / "old", "v2.0")
    (old / "meta/stats.json").write_text(json.dumps({"action": {"min": [1.0, 2.0, 3.0]}}))
    assert read_statistics(old)["action"]["min"].tolist() == [1, 2, 3]


def test_it_is_converted_to_v3(old, filmed, tmp_path):
    path = write_demonstrations(lerobot_episodes(old, max_episodes=2), tmp_path / "new")
    read = read_demonstrations(path)
    np.testing.assert_array_equal(read.images, filmed.images[:7])
    assert read.task == "lift; drop"


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("meta/episodes.jsonl", "", "has no rows, expected at least one episode"),
        ("meta/episodes.jsonl", "{", "episodes.jsonl: line 1 is no JSON"),
        ("meta/episodes.jsonl", "[]", r"line 1 is '\[\]', expected a JSON object"),
        ("meta/episodes.jsonl", '{"episode_index": 0}', "length of row 0 is None, expected a num"),
        (
            "meta/episodes.jsonl",
            '{"episode_index": 1, "length": 5}',
            r"episode_index is \[1\], expected each of 0 to 0 once",
        ),
        (
            "meta/episodes.jsonl",
            '{"episode_index": 0, "length": 5}',
            "total_episodes is 3, expected 1, the rows of meta/episodes.jsonl",
        ),
        (LAST_FILE, "PAR1", f"{LAST_FILE}: is no readable Parquet file"),
    ],
)
def test_damage_is_named(old, file, content, message):
    (old / file).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_demonstrations(old)


def test_a_missing_episode_is_named(old):
    (old / LAST_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"{LAST_FILE} is missing"):
        read_demonstrations(old)


def test_nan_names_file_row_group_and_episode(old):
    table = pq.read_table(old / LAST_FILE)
    actions = np.zeros((7, 3), np.float32)
    actions[4, 1] = np.nan
    column = pa.array(actions.tolist(), pa.list_(pa.float32()))
    place = table.column_names.index("action")
    pq.write_table(table.set_column(place, "action", column), old / LAST_FILE)
    message = rf"{LAST_FILE}: row group 0: row 4 \(episode 2\): action\[1\] is nan"
    with pytest.raises(ValueError, match=message):
        read_demonstrations(old)


@pytest.mark.parametrize("entry", [{}, {"min": [0.0]}])
def test_statistics_that_lack_something(old, entry):
    rows = [{"episode_index": 0, "stats": {"observation.state": entry}}]
    write_lines(old / "meta/episodes_stats.jsonl", rows)
    with pytest.raises(ValueError, match=r"an episode has no m.. of observation\.state"):
        read_statistics(old)
