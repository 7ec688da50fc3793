"""Passes over samples, in memory and streamed."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo_rllib.datasets import (
    ActionChunks,
    DatasetReader,
    StreamedChunks,
    minibatches,
    write_demonstrations,
)

DATA_FILE = "data/chunk-000/file-000.parquet"


@pytest.fixture(scope="module")
def store(tmp_path_factory, make_demonstrations):
    """Writes frames that tell their episode and their place, an episode to a row group."""

    def store(lengths, **fields):
        episode = np.repeat(np.arange(len(lengths)), lengths).astype(np.float32)
        frame = np.concatenate([np.arange(length) for length in lengths]).astype(np.float32)
        labels = np.stack([episode, frame], axis=1)
        made = make_demonstrations(lengths, observations=labels, actions=labels, **fields)
        path = tmp_path_factory.mktemp("d") / "d"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("dppo_rllib.datasets.lerobot_writer._ROW_GROUP_BYTES", 1)
            return write_demonstrations(made, path)

    return store


def streamed(path, frames, **steps):
    """With room for so many frames, of 4 numbers each: two pools, and a row group twice."""
    reader = DatasetReader(path)
    longest = int(reader.lengths.max())
    limit = frames * (16 + 48 + 4 * 16 + 96) + longest * 16
    return StreamedChunks(reader, None, memory_limit=limit, **steps)


def seen(samples, size, generator):
    """(episode, frame) at which the samples of each minibatch start."""
    batches = []
    for minibatch in minibatches(samples, size, generator):
        obs, actions = minibatch.gather(slice(None))
        assert len(minibatch) == len(actions) == len(obs["state"])
        check_windows(obs["state"], actions)
        batches.append([tuple(start) for start in actions[:, 0].int().tolist()])
    return batches


def check_windows(states, actions):
    """Within one episode, and padded with its first frame."""
    episodes = torch.cat([states[:, :, 0], actions[:, :, 0]], dim=1)
    assert (episodes == episodes[:, :1]).all()
    now = actions[:, :1, 1]
    assert torch.equal(actions[:, :, 1], now + torch.arange(actions.shape[1]))
    back = torch.arange(states.shape[1] - 1, -1, -1)
    assert torch.equal(states[:, :, 1], (now - back).clamp(min=0))


def starts(lengths, horizon_steps):
    return [(e, t) for e, n in enumerate(lengths) for t in range(n - horizon_steps + 1)]


@settings(max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=8),
    data=st.data(),
    size=st.integers(1, 20),
    room=st.integers(0, 60),
    seed=st.none() | st.integers(0, 9),
)
def test_each_sample_is_in_one_minibatch(store, lengths, data, size, room, seed):
    horizon_steps = data.draw(st.integers(1, max(lengths)))
    steps = {"horizon_steps": horizon_steps, "cond_steps": data.draw(st.integers(1, 3))}
    samples = streamed(store(lengths), max(lengths) + room, **steps)
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    batches = seen(samples, size, generator)
    expected = starts(lengths, horizon_steps)
    assert Counter(start for batch in batches for start in batch) == Counter(expected)
    assert all(len(batch) == size for batch in batches[:-1])
    assert len(samples) == len(expected)
    if generator is None:
        assert [start for batch in batches for start in batch] == expected


@settings(max_examples=20)
@given(lengths=st.lists(st.integers(2, 12), min_size=1, max_size=6), size=st.integers(1, 20))
def test_passes_in_memory_are_one_permutation(make_demonstrations, lengths, size):
    chunks = ActionChunks(make_demonstrations(tuple(lengths)), None, horizon_steps=2)
    order = torch.randperm(len(chunks), generator=torch.Generator().manual_seed(1))
    found = list(minibatches(chunks, size, torch.Generator().manual_seed(1)))
    for minibatch, rows in zip(found, order.split(size), strict=True):
        obs, actions = minibatch.gather(slice(None))
        expected = chunks.gather(rows)
        assert torch.equal(obs["state"], expected[0]["state"])
        assert torch.equal(actions, expected[1])


@pytest.mark.parametrize("size", [5, 16])
def test_parts_of_minibatches_make_up_the_whole(store, size):
    samples = streamed(store([6, 9, 4, 7]), 10, horizon_steps=2)
    whole = list(minibatches(samples, size, torch.Generator().manual_seed(0)))
    for minibatch in whole:
        parts = [minibatch.gather(slice(rank, None, 3)) for rank in range(3)]
        obs, actions = minibatch.gather(slice(None))
        for rank, (part_obs, part_actions) in enumerate(parts):
            assert torch.equal(part_actions, actions[rank::3])
            assert torch.equal(part_obs["state"], obs["state"][rank::3])


def test_pictures_are_streamed_too(store, make_images):
    images = make_images(26)
    path = store([6, 9, 4, 7], images=images)
    reader = DatasetReader(path)
    limit = 10 * (16 + 60 + 48 + 64 + 60 + 96) + 9 * (16 + 60)
    samples = StreamedChunks(
        reader, None, memory_limit=limit, horizon_steps=2, img_cond_steps=2, episodes=[0, 1, 3]
    )
    first = [0, 6, 15, 19]
    count = 0
    for minibatch in minibatches(samples, 4, torch.Generator().manual_seed(0)):
        obs, actions = minibatch.gather(slice(None))
        for pictures, (episode, frame) in zip(obs["rgb"], actions[:, 0].int(), strict=True):
            rows = [first[episode] + max(int(frame) - 1, 0), first[episode] + int(frame)]
            np.testing.assert_array_equal(pictures, images[rows])
            count += 1
    assert count == len(samples) == 5 + 8 + 6


def test_a_pass_is_reproducible_and_the_next_one_differs(store):
    samples = streamed(store([5] * 20), 20, horizon_steps=2)
    generator = torch.Generator().manual_seed(0)
    first, second = (seen(samples, 8, generator) for _ in range(2))
    assert first != second
    assert first == seen(samples, 8, torch.Generator().manual_seed(0))


def test_a_pool_has_samples_of_many_places(store):
    samples = streamed(store([5] * 40), 50, horizon_steps=2)
    assert samples.blocks_per_pool == pytest.approx(10)
    pools = [chunks.actions[:, 0] for chunks in samples.pools(torch.Generator().manual_seed(0))]
    assert [len(pool) for pool in pools] == [50] * 4
    # Not the first ones, then the next ones.
    assert all(len(pool.unique()) == 10 and pool.max() - pool.min() > 15 for pool in pools)


def test_episodes_shorter_than_a_chunk_are_left_out(store):
    samples = streamed(store([2, 6, 1]), 10, horizon_steps=4)
    assert (len(samples), samples.dropped_episodes) == (3, 2)
    with pytest.raises(ValueError, match="horizon_steps is 7, expected at most 6"):
        streamed(store([2, 6, 1]), 10, horizon_steps=7)


def test_a_row_group_that_does_not_fit_is_refused(store):
    with pytest.raises(ValueError, match="memory limit is .* a row group of 9 frames"):
        streamed(store([6, 9, 4]), 8, horizon_steps=2)


def test_row_groups_of_others_are_read_as_a_whole(store):
    path = store([6, 9, 4])
    table = pq.read_table(path / DATA_FILE)
    pq.write_table(table, path / DATA_FILE, row_group_size=10)
    assert [b.tolist() for b in DatasetReader(path).row_group_blocks(np.arange(3))] == [[0, 1], [2]]
    pq.write_table(table, path / DATA_FILE, row_group_size=10, write_statistics=False)
    assert [b.tolist() for b in DatasetReader(path).row_group_blocks(np.arange(3))] == [[0, 1, 2]]
    samples = streamed(path, 30, horizon_steps=2)
    found = [start for batch in seen(samples, 4, None) for start in batch]
    assert sorted(found) == starts([6, 9, 4], 2)


def test_damage_is_named_when_it_is_reached(store):
    path = store([200] * 4)
    content = bytearray((path / DATA_FILE).read_bytes())
    with pq.ParquetFile(path / DATA_FILE) as parquet:
        place = parquet.metadata.row_group(2).column(0).data_page_offset
    content[place + 60] ^= 1
    (path / DATA_FILE).write_bytes(content)
    samples = streamed(path, 200, horizon_steps=2)
    with pytest.raises(ValueError, match=rf"{DATA_FILE}: row group 2 \(episode 2\) is no r"):
        list(minibatches(samples, 16, None))


PASS = """
import resource, sys, torch
from dppo_rllib.datasets import DatasetReader, StreamedChunks, minibatches

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

reader = DatasetReader(sys.argv[1])
limit = float(sys.argv[2])
small = reader.read([0])
before = peak()
samples = StreamedChunks(reader, None, memory_limit=limit, horizon_steps=4)
count = 0
for _ in range(2):
    for minibatch in minibatches(samples, 256, torch.Generator().manual_seed(0)):
        count += len(minibatch.gather(slice(None))[1])
assert count == 2 * len(samples), count
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
@pytest.mark.parametrize("pictures", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_memory_stays_within_the_limit(tmp_path, make_demonstrations, pictures):
    if pictures:
        # Black ones are small on the disk, and as large as any in memory.
        images = np.zeros((1200, 3, 128, 128), np.uint8)  # 59 MB
        parts = (make_demonstrations((300,) * 4, images=images) for _ in range(4))
    else:
        black = {name: np.zeros((100_000, 20), np.float32) for name in ("observations", "actions")}
        parts = (make_demonstrations((1000,) * 100, **black) for _ in range(12))  # 16 MB
    path = write_demonstrations(parts, tmp_path / "d")
    reader = DatasetReader(path)
    assert reader.num_frames * reader.frame_bytes > 190e6
    limit = 50e6
    done = subprocess.run(
        [sys.executable, "-c", PASS, str(path), str(limit)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) < limit + 25e6  # what Arrow keeps for later
