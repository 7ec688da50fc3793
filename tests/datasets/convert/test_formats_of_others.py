"""Files of Minari, and such as RLlib writes (tests/golden/formats/make.py)."""

from pathlib import Path

import numpy as np
import pytest

from dppo_rllib.datasets.convert import minari_episodes, read_episodes, rllib_episodes
from dppo_rllib.datasets.convert.source import MINARI, RLLIB, find_format
from dppo_rllib.datasets.episodes import concatenate

FILES = Path(__file__).parents[2] / "golden" / "formats"
RECORDINGS = ["rllib_episodes", "rllib_steps", "rllib_packed"]
STORAGES = ["minari_hdf5", "minari_arrow"]


@pytest.fixture(scope="module")
def expected():
    with np.load(FILES / "expected.npz") as arrays:
        return dict(arrays)


def needs(name):
    if name == "minari_hdf5":
        pytest.importorskip("h5py")


def check(found, expected):
    np.testing.assert_array_equal(found.actions, expected["actions"])
    np.testing.assert_array_equal(found.rewards, expected["rewards"])
    assert found.episode_lengths.tolist() == expected["lengths"].tolist()
    assert np.flatnonzero(found.terminated).tolist() == [4]
    assert np.flatnonzero(found.truncated).tolist() == [7]
    assert (found.fps, found.task) == (20, "reach")


@pytest.mark.parametrize("name", RECORDINGS)
def test_recordings_of_rllib(name, expected):
    found = concatenate(rllib_episodes(FILES / name, fps=20, task="reach"))
    check(found, expected)
    np.testing.assert_array_equal(found.observations, expected["state"])


@pytest.mark.parametrize("name", STORAGES)
def test_storages_of_minari(name, expected):
    needs(name)
    names = ["goal/place", "picture", "state"]
    found = concatenate(minari_episodes(FILES / name, fps=20, task="reach", observation=names))
    check(found, expected)
    joined = np.concatenate([expected["goal"], expected["state"]], axis=-1)
    np.testing.assert_array_equal(found.observations, joined)
    assert found.camera_names == ("picture",)
    pictures = np.moveaxis(expected["picture"], -1, 1).astype(int)
    # Minari keeps pictures as JPEG files.
    assert np.abs(found.images.astype(int) - pictures).max() <= 12


@pytest.mark.parametrize("name", [*RECORDINGS, *STORAGES])
def test_formats_are_told_by_content(name, expected):
    needs(name)
    kind = MINARI if name in STORAGES else RLLIB
    assert find_format(FILES / name) is kind
    options = {"observation": ["state"]} if kind is MINARI else {}
    first = list(read_episodes(FILES / name, fps=20, max_episodes=1, task=None, **options))
    assert [episode.num_frames for episode in first] == [5]
    np.testing.assert_array_equal(first[0].observations, expected["state"][:5])


@pytest.mark.parametrize("name", STORAGES)
def test_names_of_observations_are_checked(name):
    needs(name)
    with pytest.raises(ValueError, match="are of goal/place, picture, state; expected observation"):
        list(minari_episodes(FILES / name, fps=20))
    with pytest.raises(ValueError, match="have no 'goal', only: goal/place, picture, state"):
        list(minari_episodes(FILES / name, fps=20, observation=["goal"]))
    with pytest.raises(ValueError, match="are pictures alone .picture., expected numbers"):
        list(minari_episodes(FILES / name, fps=20, observation=["picture"]))


def test_a_single_array_has_no_names():
    with pytest.raises(ValueError, match=r"observation is \['state'\], expected none"):
        list(rllib_episodes(FILES / "rllib_steps", fps=20, observation=["state"]))


def test_options_of_other_formats_are_refused():
    with pytest.raises(ValueError, match=r"filter_key: not an option of RLlib's offline Parquet"):
        read_episodes(FILES / "rllib_steps", fps=20, filter_key="train")
    with pytest.raises(ValueError, match=r"fps: missing; .* does not tell it"):
        read_episodes(FILES / "rllib_steps")
