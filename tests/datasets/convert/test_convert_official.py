import tracemalloc

import numpy as np
import pytest

from dppo_rllib.datasets import ActionChunks, read_demonstrations, write_demonstrations
from dppo_rllib.datasets.convert import official_episodes
from dppo_rllib.datasets.episodes import concatenate

LENGTHS = np.array([5, 2, 7])


def read(path, **options):
    return concatenate(official_episodes(path, **options))


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
    found = read(save(tmp_path, arrays), fps=50, task="hop")
    np.testing.assert_array_equal(found.observations, arrays["states"])
    np.testing.assert_array_equal(found.actions, arrays["actions"])
    np.testing.assert_array_equal(found.rewards, arrays["rewards"])
    assert found.episode_lengths.tolist() == [5, 2, 7]
    assert np.flatnonzero(found.terminated).tolist() == [4, 13]
    assert np.flatnonzero(found.truncated).tolist() == [6]
    assert (found.fps, found.task) == (50, "hop")


def test_layout_with_time_limits(tmp_path):
    arrays = official()
    arrays["observations"] = arrays.pop("states").astype(np.float64)
    arrays["timeouts"] = np.arange(14) == 6
    arrays["behaviour_policy"] = np.arange(3)
    found = read(save(tmp_path, arrays), fps=125)
    assert np.flatnonzero(found.truncated).tolist() == [6]
    assert found.observations.dtype == np.float32


def test_rewards_and_ends_may_be_missing(tmp_path):
    arrays = official()
    del arrays["rewards"], arrays["terminals"]
    found = read(save(tmp_path, arrays), fps=50)
    assert not found.rewards.any()
    assert np.flatnonzero(found.truncated).tolist() == [4, 6, 13]


def test_normalised_values_are_turned_back(tmp_path):
    raw = official()
    limits = {}
    scaled = dict(raw)
    for name, kind in (("states", "obs"), ("actions", "action")):
        low, high = raw[name].min(axis=0), raw[name].max(axis=0)
        limits |= {f"{kind}_min": low, f"{kind}_max": high}
        scaled[name] = 2 * (raw[name] - low) / (high - low + 1e-6) - 1
    np.savez(tmp_path / "normalization.npz", **limits)
    found = read(save(tmp_path, scaled), fps=50, normalization=tmp_path / "normalization.npz")
    np.testing.assert_allclose(found.observations, raw["states"], atol=1e-6)
    np.testing.assert_allclose(found.actions, raw["actions"], atol=1e-6)


def test_normalization_of_another_task_is_refused(tmp_path):
    np.savez(tmp_path / "normalization.npz", obs_min=np.zeros(9), obs_max=np.ones(9))
    with pytest.raises(ValueError, match=r"obs_min has shape \(9,\).*expected \(4,\)"):
        read(save(tmp_path, official()), fps=50, normalization=tmp_path / "normalization.npz")


def test_conversion_gives_the_official_samples(tmp_path, golden):
    arrays = {
        "states": golden["ds/states"],
        "actions": golden["ds/actions"],
        "traj_lengths": LENGTHS,
    }
    demonstrations = read(save(tmp_path, arrays), fps=50)
    path = write_demonstrations(demonstrations, tmp_path / "d")
    chunks = ActionChunks(read_demonstrations(path), None, horizon_steps=3, cond_steps=2)
    _, actions = chunks.gather(chunks.starts.new_tensor(range(len(chunks))))
    np.testing.assert_array_equal(actions, golden["ds/out_actions"])


def test_pictures_are_taken_where_they_are_asked_for(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (14, 6, 5, 4), np.uint8)
    file = save(tmp_path, official(images=images))
    assert read(file, fps=20).images is None
    np.testing.assert_array_equal(read(file, fps=20, pixels=True).images, images)


def test_compressed_files_are_read(tmp_path):
    np.savez_compressed(tmp_path / "train.npz", **official())
    found = read(tmp_path / "train.npz", fps=20)
    np.testing.assert_array_equal(found.actions, official()["actions"])


def test_an_episode_at_a_time_is_in_memory(tmp_path):
    frames = 200_000
    arrays = {name: np.zeros((frames, 20), np.float32) for name in ("states", "actions")}
    file = save(tmp_path, arrays | {"traj_lengths": np.full(100, frames // 100)})
    tracemalloc.start()
    count = sum(episode.num_frames for episode in official_episodes(file, fps=20))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == frames
    assert peak < sum(array.nbytes for array in arrays.values()) / 10


def test_columns_first_are_refused(tmp_path):
    file = save(tmp_path, official(actions=np.asfortranarray(np.zeros((14, 3)))))
    with pytest.raises(ValueError, match="actions: is in Fortran's order, expected numpy's own"):
        read(file, fps=50)


@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_a_file_that_is_cut_off_is_refused(tmp_path, kept):
    file = save(tmp_path, official())
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * kept)])
    with pytest.raises(ValueError, match=r"train\.npz: is no readable npz"):
        read(file, fps=50)


def test_a_flipped_bit_is_found(tmp_path):
    file = save(tmp_path, official())
    content = bytearray(file.read_bytes())
    content[200] ^= 1  # within the states
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.npz: is no readable npz .*states: Bad CRC"):
        read(file, fps=50)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"traj_lengths": np.array([5, 2, 6])}, "traj_lengths has 3 entries that sum to 13"),
        ({"traj_lengths": np.array([], dtype=np.int64)}, "traj_lengths has 0 entries"),
        ({"actions": np.zeros((13, 3))}, "actions has 13 rows, expected 14"),
        ({"actions": np.full((14, 3), np.nan)}, r"train\.npz: episode 0: actions\[0, 0\] is nan"),
        ({"states": np.zeros(14)}, r"train\.npz: episode 0: observations has shape \(5,\)"),
        ({"states": np.array(["a"] * 14)}, "observations is <U1, expected numbers"),
        ({"actions": np.array([None] * 14)}, "is no readable npz of plain arrays"),
    ],
)
def test_wrong_arrays_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read(save(tmp_path, official(**changes)), fps=50)


@pytest.mark.parametrize("name", ["actions", "traj_lengths"])
def test_missing_array(tmp_path, name):
    arrays = official()
    del arrays[name]
    with pytest.raises(ValueError, match=f"has no array '{name}', only: "):
        read(save(tmp_path, arrays), fps=50)


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train\.npz is missing"):
        read(tmp_path / "train.npz", fps=50)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut off", b"words"])
def test_file_that_is_no_npz(tmp_path, content):
    (tmp_path / "train.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is no readable npz"):
        read(tmp_path / "train.npz", fps=50)
