import numpy as np
import pytest

from dppo_rllib.datasets import ActionChunks, read_demonstrations, write_demonstrations
from dppo_rllib.datasets.convert import read_official_npz

LENGTHS = np.array([5, 2, 7])


def official(**changes):
    rng = np.random.default_rng(0)
    terminals = np.zeros(14, dtype=bool)
    terminals[[4, 13]] = True
    return {
        "states": rng.normal(size=(14, 4)).astype(np.float32),
        "actions": rng.normal(size=(14, 3)).astype(np.float32),
        "rewards": rng.normal(size=14).astype(np.float32),
        "terminals": terminals,
        "traj_lengths": LENGTHS,
    } | changes


def save(tmp_path, arrays):
    file = tmp_path / "train.npz"
    np.savez(file, **arrays)
    return file


def test_official_layout(tmp_path):
    arrays = official()
    read = read_official_npz(save(tmp_path, arrays), fps=50, task="hop")
    np.testing.assert_array_equal(read.observations, arrays["states"])
    np.testing.assert_array_equal(read.actions, arrays["actions"])
    np.testing.assert_array_equal(read.rewards, arrays["rewards"])
    assert read.episode_lengths.tolist() == [5, 2, 7]
    assert np.flatnonzero(read.terminated).tolist() == [4, 13]
    assert np.flatnonzero(read.truncated).tolist() == [6]
    assert (read.fps, read.task) == (50, "hop")


def test_layout_with_time_limits(tmp_path):
    arrays = official()
    arrays["observations"] = arrays.pop("states").astype(np.float64)
    arrays["timeouts"] = np.arange(14) == 6
    arrays["behaviour_policy"] = np.arange(3)
    read = read_official_npz(save(tmp_path, arrays), fps=125)
    assert np.flatnonzero(read.truncated).tolist() == [6]
    assert read.observations.dtype == np.float32


def test_rewards_and_ends_may_be_missing(tmp_path):
    arrays = official()
    del arrays["rewards"], arrays["terminals"]
    read = read_official_npz(save(tmp_path, arrays), fps=50)
    assert not read.rewards.any()
    assert np.flatnonzero(read.truncated).tolist() == [4, 6, 13]


def test_normalised_values_are_turned_back(tmp_path):
    raw = official()
    limits = {}
    scaled = dict(raw)
    for name, kind in (("states", "obs"), ("actions", "action")):
        low, high = raw[name].min(axis=0), raw[name].max(axis=0)
        limits |= {f"{kind}_min": low, f"{kind}_max": high}
        scaled[name] = 2 * (raw[name] - low) / (high - low + 1e-6) - 1
    np.savez(tmp_path / "normalization.npz", **limits)
    read = read_official_npz(
        save(tmp_path, scaled), fps=50, normalization_path=tmp_path / "normalization.npz"
    )
    np.testing.assert_allclose(read.observations, raw["states"], atol=1e-6)
    np.testing.assert_allclose(read.actions, raw["actions"], atol=1e-6)


def test_normalization_of_another_task_is_refused(tmp_path):
    np.savez(tmp_path / "normalization.npz", obs_min=np.zeros(9), obs_max=np.ones(9))
    with pytest.raises(ValueError, match=r"obs_min has shape \(9,\).*expected \(4,\)"):
        read_official_npz(
            save(tmp_path, official()), fps=50, normalization_path=tmp_path / "normalization.npz"
        )


def test_conversion_gives_the_official_samples(tmp_path, golden):
    arrays = {
        "states": golden["ds/states"],
        "actions": golden["ds/actions"],
        "traj_lengths": LENGTHS,
    }
    demonstrations = read_official_npz(save(tmp_path, arrays), fps=50)
    path = write_demonstrations(demonstrations, tmp_path / "d")
    chunks = ActionChunks(read_demonstrations(path), None, horizon_steps=3, cond_steps=2)
    _, actions = chunks.gather(chunks.starts.new_tensor(range(len(chunks))))
    np.testing.assert_array_equal(actions, golden["ds/out_actions"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"traj_lengths": np.array([5, 2, 6])}, "traj_lengths has 3 entries that sum to 13"),
        ({"traj_lengths": np.array([], dtype=np.int64)}, "traj_lengths has 0 entries"),
        ({"actions": np.zeros((13, 3))}, "actions has 13 rows, expected 14"),
        ({"actions": np.full((14, 3), np.nan)}, r"train\.npz: actions\[0, 0\] is nan"),
        ({"states": np.zeros(14)}, r"train\.npz: observations has shape \(14,\)"),
        ({"states": np.array(["a"] * 14)}, "states is <U1, expected numbers"),
        ({"actions": np.array([None] * 14)}, "is no readable npz of plain arrays"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_official_npz(save(tmp_path, official(**changes)), fps=50)


@pytest.mark.parametrize("name", ["actions", "traj_lengths"])
def test_missing_array(tmp_path, name):
    arrays = official()
    del arrays[name]
    with pytest.raises(ValueError, match=f"has no array '{name}', only: "):
        read_official_npz(save(tmp_path, arrays), fps=50)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.npz is missing"):
        read_official_npz(tmp_path / "train.npz", fps=50)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"words"])
def test_file_that_is_no_npz(tmp_path, content):
    (tmp_path / "train.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is no readable npz"):
        read_official_npz(tmp_path / "train.npz", fps=50)
