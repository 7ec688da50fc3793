import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_v2_files import write_old

from dppo_rllib.datasets import read_demonstrations, write_demonstrations
from dppo_rllib.datasets.summary import summarize

DATA_FILE = "data/chunk-000/file-000.parquet"
STATE, ACTION, REWARD = "observation.state", "action", "next.reward"


def set_column(dataset, name, values):
    table = pq.read_table(dataset / DATA_FILE)
    if name in table.column_names:
        table = table.drop_columns([name])
    pq.write_table(table.append_column(name, values), dataset / DATA_FILE)


@pytest.mark.parametrize("old", [False, True])
def test_ranges_and_returns_are_those_of_the_frames(tmp_path, make_demonstrations, old):
    made = make_demonstrations(lengths=(9000,) * 6, observation_dim=20)  # several row groups
    path = write_old(made, tmp_path / "d") if old else write_demonstrations(made, tmp_path / "d")
    summary = summarize(path)
    for name, values in ((STATE, made.observations), (ACTION, made.actions)):
        found, exact = summary.columns[name], values.astype(np.float64)
        np.testing.assert_array_equal(found.min, exact.min(axis=0))
        np.testing.assert_array_equal(found.max, exact.max(axis=0))
        np.testing.assert_allclose(found.mean, exact.mean(axis=0))
        np.testing.assert_allclose(found.std, exact.std(axis=0))
        assert (found.count == 54_000).all() and not found.missing.any()
        # Every third frame.
        np.testing.assert_array_equal(found.sample, exact[::3])
    np.testing.assert_allclose(summary.returns, made.episode_returns)
    assert summary.ends == {"terminated": 3, "truncated": 3, "just stop": 0}
    assert summary.lengths.tolist() == [9000] * 6
    assert summary.success is None and summary.version == ("v2.1" if old else "v3.0")


def test_values_that_are_missing_are_counted_and_left_out(dataset, demonstrations):
    rows = demonstrations.actions.tolist()
    rows[3] = None
    rows[8][1] = float("nan")
    rows[9][1] = float("inf")
    rows[10][2] = None
    set_column(dataset, ACTION, pa.array(rows, pa.list_(pa.float32())))
    found = summarize(dataset).columns[ACTION]
    assert found.missing.tolist() == [1, 3, 2]
    assert found.count.tolist() == [13, 11, 12]
    kept = np.delete(demonstrations.actions[:, 1], [3, 8, 9]).astype(np.float64)
    np.testing.assert_allclose([found.mean[1], found.std[1]], [kept.mean(), kept.std()])
    assert found.max[1] == kept.max()


def test_constant_dimensions_are_found(tmp_path, make_demonstrations):
    made = make_demonstrations()
    made.observations[:, 2] = 7
    summary = summarize(write_demonstrations(made, tmp_path / "d"))
    assert summary.columns[STATE].constant.tolist() == [False, False, True, False]


def test_a_reward_of_one_is_not_taken_for_success(tmp_path, make_demonstrations):
    rewards = np.zeros(14, np.float32)
    rewards[[3, 4, 13]] = 1  # as for one of a kitchen's four subtasks
    made = make_demonstrations(rewards=rewards)
    assert summarize(write_demonstrations(made, tmp_path / "d")).success is None


@pytest.mark.parametrize("old", [False, True])
def test_success_that_is_recorded_is_told(tmp_path, make_demonstrations, old):
    success = np.arange(14) == 3  # and not at the episode's end
    made = make_demonstrations(success=success)
    path = write_old(made, tmp_path / "d") if old else write_demonstrations(made, tmp_path / "d")
    assert summarize(path).success.tolist() == [True, False, False]
    np.testing.assert_array_equal(read_demonstrations(path).success, success)


def test_cameras_are_told(filmed_dataset):
    cameras = summarize(filmed_dataset).cameras
    assert cameras["observation.images.front"] == "5 x 4 x 3, pictures in the tables"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pa.array([[1.0] * 3] * 13 + [[1.0]]), r"row 13 \(episode 2\): action has 1 values"),
        (pa.array([["a"] * 3] * 14), "row group 0: action is string, expected numbers"),
    ],
)
def test_rows_of_another_kind_are_refused(dataset, values, message):
    set_column(dataset, ACTION, values)
    with pytest.raises(ValueError, match=message):
        summarize(dataset)
