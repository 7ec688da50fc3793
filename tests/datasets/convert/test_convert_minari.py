"""What may be wrong with Minari's datasets, and those without pictures."""

import json

import numpy as np
import pyarrow as pa
import pytest

from dppo_rllib.datasets.convert import minari_episodes
from dppo_rllib.datasets.episodes import concatenate


def fixed(values):
    values = np.asarray(values, np.float32)
    return pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), values.shape[1])


def columns_of(steps, **changes):
    """As Minari fills them: one row more than there are steps."""
    rng = np.random.default_rng(steps)
    last = [i == steps - 1 for i in range(steps + 1)]
    return {
        "observations": fixed(rng.normal(size=(steps + 1, 4))),
        "actions": fixed(rng.normal(size=(steps + 1, 2))),
        "rewards": pa.array(np.arange(steps + 1.0)),
        "terminations": pa.array(last),
        "truncations": pa.array([False] * (steps + 1)),
    } | changes


def write_arrow(file, table):
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.fixture
def save(tmp_path):
    def save(*episodes):
        data = tmp_path / "set" / "data"
        for i, columns in enumerate(episodes):
            (data / str(i)).mkdir(parents=True)
            table = pa.table({k: v for k, v in columns.items() if v is not None})
            write_arrow(data / str(i) / "part-0.arrow", table)
        (data / "metadata.json").write_text(json.dumps({"data_format": "arrow"}))
        return tmp_path / "set"

    return save


def test_the_last_observation_and_what_fills_up_is_left_out(save):
    path = save(*[columns_of(steps) for steps in range(1, 13)])
    found = concatenate(minari_episodes(path, fps=20))
    # By number, 2 before 10.
    assert found.episode_lengths.tolist() == list(range(1, 13))
    assert found.rewards[:6].tolist() == [0, 0, 1, 0, 1, 2]
    assert found.terminated.sum() == 12 and not found.truncated.any()
    assert found.observation_dim == 4


@pytest.mark.parametrize("given", ["", "data"])
def test_either_directory_may_be_named(save, given):
    path = save(columns_of(3))
    assert concatenate(minari_episodes(path / given, fps=20)).num_frames == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": None}, ": has no 'actions', only: observations"),
        ({"actions": pa.array(range(4))}, "actions are whole numbers, expected continuous"),
        ({"actions": fixed([[np.nan]] * 4)}, r": actions\[0, 0\] is nan"),
        ({"actions": pa.array([{"a": 1.0}] * 4)}, "actions are of a, expected one array"),
        ({"observations": pa.array(["x"] * 4)}, "observations is object, expected numbers"),
    ],
)
def test_wrong_episodes_are_named(save, changes, message):
    path = save(columns_of(2), columns_of(3, **changes))
    with pytest.raises(ValueError, match=rf"1.*{message}"):
        list(minari_episodes(path, fps=20))


def test_an_episode_may_be_in_several_files(save):
    path = save(columns_of(30))
    whole = concatenate(minari_episodes(path, fps=20))
    folder = path / "data" / "0"
    table = pa.table(columns_of(30))
    for part in range(11):
        # By number, part-2 before part-10.
        write_arrow(folder / f"part-{part}.arrow", table.slice(3 * part, 3))
    found = concatenate(minari_episodes(path, fps=20))
    np.testing.assert_array_equal(found.observations, whole.observations)
    np.testing.assert_array_equal(found.rewards, np.arange(30))
    write_arrow(folder / "part-11.arrow", table.drop_columns(["actions"]))
    with pytest.raises(ValueError, match="data/0: its files have other columns each"):
        list(minari_episodes(path, fps=20))


def test_damaged_and_missing_files_are_named(save):
    path = save(columns_of(2), columns_of(3))
    file = path / "data" / "1" / "part-0.arrow"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"1/part-0\.arrow: is no readable Arrow file"):
        list(minari_episodes(path, fps=20))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"1: holds no \.arrow file"):
        list(minari_episodes(path, fps=20))
    with pytest.raises(FileNotFoundError, match=r"has no metadata\.json in it or in data/"):
        list(minari_episodes(path / "data" / "0" / "nothing", fps=20))


def test_metadata_that_is_none(save):
    path = save(columns_of(2))
    (path / "data" / "metadata.json").write_text("[]")
    with pytest.raises(ValueError, match=r"metadata\.json: is no JSON of a dataset of Minari"):
        list(minari_episodes(path, fps=20))
