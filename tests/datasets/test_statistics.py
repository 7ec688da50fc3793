import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dppo_rllib.datasets.statistics import merge_segments, segment_statistics


def test_segments_agree_with_numpy():
    values = np.random.default_rng(0).normal(5, 3, (30, 2)).astype(np.float32)
    starts = np.array([0, 4, 5, 20])
    found = segment_statistics(values, starts)
    for i, part in enumerate(np.split(values, starts[1:])):
        np.testing.assert_array_equal(found["min"][i], part.min(axis=0))
        np.testing.assert_array_equal(found["max"][i], part.max(axis=0))
        np.testing.assert_allclose(found["mean"][i], part.mean(axis=0, dtype=np.float64))
        np.testing.assert_allclose(
            found["std"][i], part.std(axis=0, dtype=np.float64), rtol=1e-9, atol=1e-12
        )
        assert found["count"][i].tolist() == [len(part)]


def whole(column):
    return merge_segments(segment_statistics(column, np.zeros(1, np.int64)))


def test_extremes_keep_the_dtype():
    columns = {
        "float": np.array([[0.1], [0.3]], dtype=np.float32),
        "flag": np.array([False, True]),
        "index": np.array([7, 2**53 + 1]),
    }
    found = {name: whole(column) for name, column in columns.items()}
    assert found["float"]["max"].dtype == np.float32
    assert found["flag"]["max"].tolist() == [True]
    assert found["flag"]["mean"].tolist() == [0.5]
    assert found["index"]["max"].tolist() == [2**53 + 1]


@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=8),
    cut=st.integers(0, 8),
    offset=st.sampled_from([0.0, 1e4]),
    pictures=st.booleans(),
)
def test_statistics_of_parts_are_merged_to_those_of_the_whole(lengths, cut, offset, pictures):
    rng = np.random.default_rng(len(lengths))
    values = offset + rng.normal(size=(sum(lengths), 2)).astype(np.float32)
    if pictures:
        values = rng.integers(0, 256, (sum(lengths), 3, 2, 2), np.uint8)
    starts = np.cumsum(lengths) - lengths
    segments = segment_statistics(values, starts)
    first = {key: rows[:cut] for key, rows in segments.items()}
    rest = {key: rows[cut:] for key, rows in segments.items()}
    before = merge_segments(first) if cut else None
    merged = merge_segments(rest, before) if cut < len(lengths) else merge_segments(segments)
    for key, expected in whole(values).items():
        assert merged[key].dtype == expected.dtype
        compare = np.testing.assert_array_equal
        if key in ("mean", "std"):
            compare = np.testing.assert_allclose
        compare(merged[key], expected)


def test_pictures_have_statistics_for_each_channel_in_the_unit_range():
    pictures = np.random.default_rng(0).integers(3, 200, (150, 2, 4, 5), np.uint8)
    found = segment_statistics(pictures, np.array([0, 1, 90]))
    for i, part in enumerate(np.split(pictures, [1, 90])):
        expected = part / 255
        for key in ("min", "max", "mean", "std"):
            assert found[key].shape == (3, 2, 1, 1)
            np.testing.assert_allclose(
                found[key][i, :, 0, 0], getattr(expected, key)(axis=(0, 2, 3)), rtol=1e-12
            )
        assert found["count"][i].tolist() == [len(part)]
    np.testing.assert_allclose(
        whole(pictures)["mean"], (pictures / 255).mean((0, 2, 3))[:, None, None]
    )
