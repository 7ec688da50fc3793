"""LeRobot reads what we write, and we read what LeRobot writes; where it is installed.

pip install lerobot==0.4.4
"""

import numpy as np
import pytest

from dppo_rllib.datasets import read_demonstrations, read_statistics, write_demonstrations

module = pytest.importorskip("lerobot.datasets.lerobot_dataset", reason="lerobot is not installed")
FRONT = "observation.images.front"
LENGTHS = (5, 2, 7)


def load(root):
    return module.LeRobotDataset("someone/lift", root=root)


def test_it_reads_states_and_tasks(dataset, demonstrations):
    loaded = load(dataset)
    assert (loaded.num_episodes, loaded.num_frames, loaded.fps) == (3, 14, 20)
    for row in range(14):
        frame = loaded[row]
        np.testing.assert_array_equal(frame["action"].numpy(), demonstrations.actions[row])
        state = frame["observation.state"].numpy()
        np.testing.assert_array_equal(state, demonstrations.observations[row])
        assert float(frame["next.reward"]) == demonstrations.rewards[row]
        assert bool(frame["next.terminated"]) == demonstrations.terminated[row]
        assert frame["task"] == "lift the cube"
    assert int(loaded[6]["episode_index"]) == 1


def test_it_reads_pictures(filmed_dataset, filmed):
    pixels = (load(filmed_dataset)[6][FRONT].numpy() * 255).round().astype(np.uint8)
    np.testing.assert_array_equal(pixels, filmed.images[6, 3:])


def test_it_reads_many_files_and_its_windows_are_ours(tmp_path, make_demonstrations):
    made = make_demonstrations(lengths=(3000,) * 8, observation_dim=20)
    root = write_demonstrations(made, tmp_path / "d", data_files_size_in_mb=1)
    assert len(list(root.rglob("data/*/*.parquet"))) > 1
    windows = {"observation.state": [-1 / 20, 0.0], "action": [0.0, 1 / 20, 2 / 20]}
    loaded = module.LeRobotDataset("someone/lift", root=root, delta_timestamps=windows)
    for row in (0, 1, 2999, 3000, 20_000):
        frame, first = loaded[row], row - row % 3000
        before = [max(row - 1, first), row]
        np.testing.assert_array_equal(frame["observation.state"], made.observations[before])
        ahead = [min(row + i, first + 2999) for i in range(3)]
        np.testing.assert_array_equal(frame["action"], made.actions[ahead])


def test_its_statistics_are_ours(dataset):
    stats, loaded = read_statistics(dataset), load(dataset).meta.stats
    for key in ("min", "max", "mean", "std"):
        np.testing.assert_allclose(loaded["action"][key], stats["action"][key], rtol=1e-6)


@pytest.mark.parametrize("videos", [False, True])
def test_what_it_writes_is_read(tmp_path, videos):
    if videos:
        pytest.importorskip("av", reason="PyAV is not installed")
    rng = np.random.default_rng(0)
    names = ["height", "width", "channels"]
    features = {
        "observation.state": {"dtype": "float32", "shape": (4,), "names": list("abcd")},
        "action": {"dtype": "float32", "shape": (2,), "names": None},
        FRONT: {"dtype": "video" if videos else "image", "shape": (64, 96, 3), "names": names},
    }
    written = module.LeRobotDataset.create(
        "someone/reach", fps=20, features=features, root=tmp_path / "d", use_videos=videos
    )
    states = rng.normal(size=(sum(LENGTHS), 4)).astype(np.float32)
    actions = rng.normal(size=(sum(LENGTHS), 2)).astype(np.float32)
    greys = np.linspace(0, 250, sum(LENGTHS)).astype(np.uint8)
    row = 0
    for length in LENGTHS:
        for _ in range(length):
            picture = np.full((64, 96, 3), greys[row], np.uint8)
            frame = {"observation.state": states[row], "action": actions[row], FRONT: picture}
            written.add_frame(frame | {"task": "reach"})
            row += 1
        written.save_episode()
    written.finalize()
    read = read_demonstrations(tmp_path / "d")
    np.testing.assert_array_equal(read.observations, states)
    np.testing.assert_array_equal(read.actions, actions)
    assert read.episode_lengths.tolist() == list(LENGTHS)
    assert (read.task, read.fps, read.observation_names) == ("reach", 20, tuple("abcd"))
    difference = read.images.astype(int) - greys[:, None, None, None].astype(int)
    assert np.abs(difference).max() <= (9 if videos else 0)
    some = read_demonstrations(tmp_path / "d", episodes=[2, 0])
    np.testing.assert_array_equal(some.images[:7], read.images[7:])
    low = read_statistics(tmp_path / "d")["action"]["min"]
    np.testing.assert_allclose(low, actions.min(axis=0), rtol=1e-6)
