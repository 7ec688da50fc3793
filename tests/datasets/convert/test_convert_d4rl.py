import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo_rllib.datasets.convert import d4rl_episodes
from dppo_rllib.datasets.episodes import concatenate

h5py = pytest.importorskip("h5py")


def arrays_of(frames=10, **changes):
    rng = np.random.default_rng(0)
    flags = {name: np.zeros(frames, bool) for name in ("terminals", "timeouts")}
    arrays = {
        "observations": rng.normal(size=(frames, 4)).astype(np.float32),
        "actions": rng.normal(size=(frames, 3)).astype(np.float32),
        "rewards": rng.normal(size=frames).astype(np.float32),
        "infos/goal": rng.normal(size=(frames, 2)),
        "next_observations": np.zeros((frames, 4)),
        **flags,
    } | changes
    return {name: array for name, array in arrays.items() if array is not None}


def save(path, arrays):
    with h5py.File(path, "w") as content:
        for name, array in arrays.items():
            content[name] = array
    return path


def flags_at(frames, *at):
    flags = np.zeros(frames, bool)
    flags[list(at)] = True
    return flags


@settings(max_examples=30)
@given(lengths=st.lists(st.integers(1, 6), min_size=1, max_size=6), data=st.data())
def test_episodes_end_at_terminals_and_timeouts(tmp_path_factory, lengths, data):
    frames, last = sum(lengths), np.cumsum(lengths) - 1
    ends = data.draw(st.lists(st.sampled_from("ab"), min_size=len(last), max_size=len(last)))
    terminals = flags_at(frames, *[i for i, end in zip(last, ends, strict=True) if end == "a"])
    timeouts = flags_at(frames, *[i for i, end in zip(last, ends, strict=True) if end == "b"])
    arrays = arrays_of(frames, terminals=terminals, timeouts=timeouts)
    file = save(tmp_path_factory.mktemp("d") / "d.hdf5", arrays)
    found = concatenate(d4rl_episodes(file, fps=20, task="reach"))
    np.testing.assert_array_equal(found.observations, arrays["observations"])
    np.testing.assert_array_equal(found.actions, arrays["actions"])
    np.testing.assert_array_equal(found.rewards, arrays["rewards"])
    np.testing.assert_array_equal(found.terminated, terminals)
    np.testing.assert_array_equal(found.truncated, timeouts)
    assert found.episode_lengths.tolist() == lengths


def test_what_the_end_of_the_file_cuts_is_truncated(tmp_path):
    file = save(tmp_path / "d.hdf5", arrays_of(terminals=flags_at(10, 3)))
    found = concatenate(d4rl_episodes(file, fps=20))
    assert found.episode_lengths.tolist() == [4, 6]
    assert np.flatnonzero(found.terminated).tolist() == [3]
    assert np.flatnonzero(found.truncated).tolist() == [9]


def test_a_time_limit_cuts_where_no_timeouts_are_told(tmp_path):
    file = save(tmp_path / "d.hdf5", arrays_of(terminals=flags_at(10, 4), timeouts=None))
    with pytest.raises(ValueError, match="has no timeouts.*expected episode_steps"):
        list(d4rl_episodes(file, fps=20))
    found = concatenate(d4rl_episodes(file, fps=20, episode_steps=3))
    assert found.episode_lengths.tolist() == [3, 2, 3, 2]
    assert np.flatnonzero(found.terminated).tolist() == [4]
    assert concatenate(d4rl_episodes(file, fps=20, episode_steps=0)).num_episodes == 2


def test_observations_are_made_of_several_arrays(tmp_path):
    arrays = arrays_of()
    file = save(tmp_path / "d.hdf5", arrays)
    found = concatenate(d4rl_episodes(file, fps=20, observation=["observations", "infos/goal"]))
    expected = np.concatenate([arrays["observations"], arrays["infos/goal"]], axis=-1)
    np.testing.assert_array_equal(found.observations, expected.astype(np.float32))


def test_only_the_first_episodes_are_taken(tmp_path):
    file = save(tmp_path / "d.hdf5", arrays_of(terminals=flags_at(10, 3, 5)))
    found = concatenate(d4rl_episodes(file, fps=20, max_episodes=2))
    assert found.episode_lengths.tolist() == [4, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observations": np.zeros((9, 4))}, "observations has 9 rows, expected 10, as many as"),
        ({"timeouts": np.zeros(9, bool)}, r"timeouts has shape \(9,\), expected 10 rows"),
        ({"observations": None}, "has no array 'observations', only: actions, infos/goal"),
        ({"rewards": np.zeros(11)}, "rewards has 11 rows, expected 10"),
        (
            {"actions": np.full((10, 3), np.nan), "terminals": flags_at(10, 3)},
            r"episode 0 \(rows 0 to 3\): actions\[0, 0\] is nan",
        ),
        ({"actions": np.zeros(10, np.int64)}, "actions are whole numbers, expected continuous"),
    ],
)
def test_wrong_files_are_refused(tmp_path, changes, message):
    file = save(tmp_path / "d.hdf5", arrays_of(**changes))
    with pytest.raises(ValueError, match=rf"d\.hdf5: .*{message}"):
        list(d4rl_episodes(file, fps=20))


def test_a_damaged_block_names_its_episode(tmp_path):
    file = tmp_path / "d.hdf5"
    with h5py.File(file, "w") as content:
        for name, array in arrays_of(terminals=flags_at(10, 4)).items():
            checked = {"chunks": (5, *array.shape[1:]), "fletcher32": True}
            content.create_dataset(name, data=array, **checked)
        place = content["actions"].id.get_chunk_info(1).byte_offset
    damaged = bytearray(file.read_bytes())
    damaged[place] ^= 1
    file.write_bytes(damaged)
    episodes = d4rl_episodes(file, fps=20)
    next(episodes)
    with pytest.raises(ValueError, match=r"episode 1 \(rows 5 to 9\): cannot be read"):
        next(episodes)
