"""What may be wrong with RLlib's recordings, and episodes that come in pieces."""

import base64
import pickle

import lz4.frame
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.utils.compression import pack

from dppo_rllib.datasets.convert import rllib_episodes
from dppo_rllib.datasets.episodes import concatenate


def steps_table(lengths=(3, 2), **changes):
    rows = sum(lengths)
    last = np.cumsum(lengths) - 1
    ended, cut = np.zeros(rows, bool), np.zeros(rows, bool)
    ended[last[::2]], cut[last[1::2]] = True, True
    columns = {
        "eps_id": np.repeat(np.arange(len(lengths)), lengths),
        "obs": np.arange(rows * 4.0).reshape(rows, 4).tolist(),
        "actions": np.arange(rows * 2.0).reshape(rows, 2).tolist(),
        "rewards": np.arange(rows * 1.0),
        "terminateds": ended,
        "truncateds": cut,
    } | changes
    return pa.table({name: values for name, values in columns.items() if values is not None})


def save(path, *tables):
    path.mkdir(exist_ok=True)
    for i, table in enumerate(tables):
        pq.write_table(table, path / f"{i:03d}.parquet")
    return path


def encode(value):
    """As msgpack-numpy does."""
    assert isinstance(value, (np.ndarray, np.generic)), value
    many = isinstance(value, np.ndarray)
    described = {b"nd": many, b"type": value.dtype.str, b"data": value.tobytes()}
    return described | ({b"kind": b"", b"shape": value.shape} if many else {})


def items_table(*states):
    return pa.table({"item": pa.array([msgpack.packb(s, default=encode) for s in states])})


def recorded(length, cuts, name, ended=True):
    """The pieces of an episode, as RLlib cuts them, and their observations."""
    episode = SingleAgentEpisode(id_=name)
    observations = np.random.default_rng(length).normal(size=(length + 1, 3)).astype(np.float32)
    episode.add_env_reset(observation=observations[0])
    pieces = []
    for t in range(length):
        last = ended and t == length - 1
        step = {"observation": observations[t + 1], "action": observations[t, :2] / 9}
        episode.add_env_step(**step, reward=np.float64(t), terminated=last)
        if t + 1 in cuts and t + 1 < length:
            pieces.append(episode.get_state())
            episode = episode.cut(len_lookback_buffer=2)
    return [*pieces, episode.get_state()], observations[:-1]


@settings(max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    cuts=st.sets(st.integers(1, 8)),
    random=st.randoms(use_true_random=False),
)
def test_pieces_of_episodes_are_joined_in_any_order(tmp_path_factory, lengths, cuts, random):
    states, observations = [], {}
    for i, length in enumerate(lengths):
        pieces, observed = recorded(length, cuts, f"e{i}")
        states += pieces
        observations[observed.tobytes()] = length
    random.shuffle(states)
    path = save(tmp_path_factory.mktemp("r"), *[items_table(state) for state in states])
    found = list(rllib_episodes(path, fps=20))
    assert {e.observations.tobytes(): e.num_frames for e in found} == observations
    for episode in found:
        np.testing.assert_array_equal(episode.rewards, np.arange(episode.num_frames))
        assert episode.terminated[-1] and not episode.truncated.any()


def test_what_never_ends_just_stops(tmp_path):
    pieces, observed = recorded(5, {2}, "e", ended=False)
    path = save(tmp_path, items_table(*pieces))
    found = concatenate(rllib_episodes(path, fps=20))
    np.testing.assert_array_equal(found.observations, observed)
    assert not (found.terminated | found.truncated).any()


def test_a_missing_piece_is_named(tmp_path):
    pieces, _ = recorded(6, {2, 4}, "e")
    path = save(tmp_path, items_table(pieces[0], pieces[2]))
    with pytest.raises(ValueError, match=r"row group 0: episode e: .* at step 4, expected 2"):
        list(rllib_episodes(path, fps=20))


def test_an_episode_may_go_on_in_the_next_file(tmp_path):
    table = steps_table((5,))
    path = save(tmp_path, table.slice(0, 2), table.slice(2, 1), table.slice(3))
    found = concatenate(rllib_episodes(path, fps=20))
    np.testing.assert_array_equal(found.observations, np.arange(20.0).reshape(5, 4))
    assert found.episode_lengths.tolist() == [5]


def test_episodes_take_turns(tmp_path):
    table = steps_table((2, 2)).take([0, 2, 1, 3])
    found = list(rllib_episodes(save(tmp_path, table), fps=20))
    assert [episode.rewards.tolist() for episode in found] == [[0, 1], [2, 3]]


def test_ends_alone_part_episodes_without_names(tmp_path):
    found = concatenate(rllib_episodes(save(tmp_path, steps_table(eps_id=None)), fps=20))
    assert found.episode_lengths.tolist() == [3, 2]


def test_old_recordings_have_dones(tmp_path):
    table = steps_table(terminateds=None, truncateds=None, dones=[False, False, True] + [False] * 2)
    found = concatenate(rllib_episodes(save(tmp_path, table), fps=20))
    assert np.flatnonzero(found.terminated).tolist() == [2]
    assert not found.truncated.any() and found.num_episodes == 2


def test_dictionaries_of_observations(tmp_path):
    obs = [{"a": [float(i)], "b": {"c": [1.0, float(i)]}} for i in range(5)]
    path = save(tmp_path, steps_table(obs=obs))
    with pytest.raises(ValueError, match="observations are of a, b/c; expected observation"):
        list(rllib_episodes(path, fps=20))
    found = concatenate(rllib_episodes(path, fps=20, observation=["b/c", "a"]))
    np.testing.assert_array_equal(found.observations, [[1, i, i] for i in range(5)])


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def packed_evil():
    return base64.b64encode(lz4.frame.compress(pickle.dumps(Evil()))).decode()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"obs": [[1.0]] * 4 + [[1.0, 2.0]]}, r"obs has rows of \[1, 2\] values, expected equal"),
        ({"obs": [[1.0]] * 4 + [None]}, "obs is null in 1 rows"),
        ({"obs": ["words"] * 5}, "obs is no array that RLlib has packed"),
        ({"obs": [packed_evil()] * 5}, r"it holds builtins\.print, expected numpy's arrays only"),
        ({"obs": [pack(np.zeros(i)) for i in range(5)]}, "obs has rows of shapes"),
        ({"rewards": [[1.0]] * 5}, "a row is a whole batch of the old API stack"),
        ({"rewards": [np.nan] * 5}, r"episode 0: rewards\[0\] is nan"),
        ({"actions": [1] * 5}, "episode 0: actions are whole numbers"),
    ],
)
def test_wrong_steps_name_file_and_row_group(tmp_path, capsys, changes, message):
    path = save(tmp_path, steps_table(**changes))
    with pytest.raises(ValueError, match=rf"000\.parquet: row group 0: .*{message}"):
        list(rllib_episodes(path, fps=20))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"item": pa.array([b"words"])}), "is no episode in msgpack"),
        (items_table({"id_": "e"}), "is no state of a SingleAgentEpisode"),
        (items_table([1, 2]), "is no state of a SingleAgentEpisode"),
        (pa.table({"item": pa.array(["a"])}), "item is string, expected binary"),
        (
            items_table({"observations": {b"nd": True, b"kind": b"O", b"data": b""}}),
            "it holds an array of objects",
        ),
    ],
)
def test_wrong_episodes_name_file_and_row_group(tmp_path, table, message):
    path = save(tmp_path, table)
    with pytest.raises(ValueError, match=rf"000\.parquet: row group 0:? .*{message}"):
        list(rllib_episodes(path, fps=20))


@pytest.mark.parametrize("episodes", [True, False])
def test_a_damaged_page_names_its_row_group(tmp_path, episodes):
    tables = [items_table(recorded(9, set(), name)[0][0]) for name in "ab"]
    tables = tables if episodes else [steps_table((200,))] * 2
    file = tmp_path / "000.parquet"
    with pq.ParquetWriter(file, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
    column = pq.ParquetFile(file).metadata.row_group(1).column(0)
    content, start = bytearray(file.read_bytes()), column.dictionary_page_offset
    content[start : start + 40] = bytes(40)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"000\.parquet: row group 1 is no readable part"):
        list(rllib_episodes(tmp_path, fps=20))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no \.parquet file"):
        list(rllib_episodes(tmp_path, fps=20))
    path = save(tmp_path, pa.table({"x": [1]}))
    with pytest.raises(ValueError, match="has columns x, expected 'item', or obs and actions"):
        list(rllib_episodes(path, fps=20))
    (tmp_path / "000.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(ValueError, match=r"000\.parquet: is no readable Parquet file"):
        list(rllib_episodes(path, fps=20))
