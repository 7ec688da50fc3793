import numpy as np

from dppo_rllib.datasets.statistics import column_statistics, segment_statistics


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


def test_extremes_keep_the_dtype():
    columns = {
        "float": np.array([[0.1], [0.3]], dtype=np.float32),
        "flag": np.array([False, True]),
        "index": np.array([7, 2**53 + 1]),
    }
    found = column_statistics(columns)
    assert found["float"]["max"].dtype == np.float32
    assert found["flag"]["max"].tolist() == [True]
    assert found["flag"]["mean"].tolist() == [0.5]
    assert found["index"]["max"].tolist() == [2**53 + 1]


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
    whole = column_statistics({"observation.images.front": pictures})
    np.testing.assert_allclose(
        whole["observation.images.front"]["mean"], (pictures / 255).mean((0, 2, 3))[:, None, None]
    )
