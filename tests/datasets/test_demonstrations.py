from dataclasses import replace

import numpy as np
import pytest


def with_entry(array, index, value):
    changed = array.copy()
    changed[index] = value
    return changed


def test_dimensions_starts_and_returns(demonstrations):
    assert demonstrations.num_frames == 14
    assert demonstrations.num_episodes == 3
    assert (demonstrations.observation_dim, demonstrations.action_dim) == (4, 3)
    assert demonstrations.episode_starts.tolist() == [0, 5, 7]
    rewards = demonstrations.rewards.astype(np.float64)
    expected = [rewards[:5].sum(), rewards[5:7].sum(), rewards[7:].sum()]
    np.testing.assert_allclose(demonstrations.episode_returns, expected, rtol=1e-12)


def test_select_keeps_the_order_asked_for(demonstrations):
    chosen = demonstrations.select([2, 0])
    chosen.validate()
    assert chosen.episode_lengths.tolist() == [7, 5]
    rows = [*range(7, 14), *range(0, 5)]
    np.testing.assert_array_equal(chosen.actions, demonstrations.actions[rows])
    np.testing.assert_array_equal(chosen.terminated, demonstrations.terminated[rows])


@pytest.mark.parametrize(
    ("episodes", "message"),
    [
        ([], "episodes is empty"),
        ([0, 3], "episodes contains 3, expected 0 to 2"),
        ([-1], "episodes contains -1, expected 0 to 2"),
        ([1, 1], "episodes contains 1 more than once"),
        (np.array([0.5]), "expected a sequence of integers"),
    ],
)
def test_select_refuses_wrong_episodes(demonstrations, episodes, message):
    with pytest.raises(ValueError, match=message):
        demonstrations.select(episodes)


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("observations", lambda x: with_entry(x, (3, 1), np.nan), r"observations\[3, 1\] is nan"),
        ("actions", lambda x: with_entry(x, (0, 2), np.inf), r"actions\[0, 2\] is inf"),
        ("rewards", lambda x: with_entry(x, 9, np.nan), r"rewards\[9\] is nan"),
        ("observations", lambda x: x[:, 0], r"observations has shape \(14,\), expected \[frames"),
        ("actions", lambda x: x[:, :0], r"actions has shape \(14, 0\), expected at least one"),
        ("rewards", lambda x: x[:, None], r"rewards has shape \(14, 1\), expected one dimension"),
        ("actions", lambda x: x[:-1], "actions has 13 rows, expected 14"),
        ("observations", lambda x: x.astype(float), "dtype float64, expected float32"),
        ("terminated", lambda x: x.astype(np.int64), "terminated has dtype int64, expected bool"),
        ("terminated", lambda x: with_entry(x, 2, True), r"terminated\[2\] is True inside an"),
        ("truncated", lambda x: with_entry(x, 8, True), r"truncated\[8\] is True inside an"),
        ("episode_lengths", lambda x: x[:-1], "episode_lengths sum to 7, expected 14"),
        ("episode_lengths", lambda x: x[:0], "episode_lengths is empty"),
        ("episode_lengths", lambda x: with_entry(x, 1, 0), r"episode_lengths\[1\] is 0"),
        ("fps", lambda x: 0.0, "fps is 0.0, expected a positive"),
        ("action_names", lambda x: ("x", "y"), "action_names has 2 names, expected 3"),
    ],
)
def test_validate_names_field_value_and_expectation(demonstrations, field, change, message):
    broken = replace(demonstrations, **{field: change(getattr(demonstrations, field))})
    with pytest.raises(ValueError, match=message):
        broken.validate()


def test_an_episode_may_just_stop(make_demonstrations):
    make_demonstrations(terminated=np.zeros(14, dtype=bool)).validate()


# Pictures


def test_select_keeps_pictures_and_names(filmed):
    chosen = filmed.select([2, 0])
    np.testing.assert_array_equal(chosen.images, filmed.images[[*range(7, 14), *range(0, 5)]])
    assert chosen.camera_names == filmed.camera_names


def test_cameras_share_the_channels_and_the_memory(filmed):
    views = filmed.camera_images
    assert list(views) == ["wrist", "front"]
    np.testing.assert_array_equal(views["wrist"], filmed.images[:, :3])
    np.testing.assert_array_equal(views["front"], filmed.images[:, 3:])
    assert all(np.shares_memory(view, filmed.images) for view in views.values())


@pytest.mark.parametrize(
    ("channels", "names", "expected"),
    [
        (1, None, {"camera_0": 1}),
        (3, None, {"camera_0": 3}),
        (9, None, {"camera_0": 3, "camera_1": 3, "camera_2": 3}),
        (2, ("a", "b"), {"a": 1, "b": 1}),
        (3, ("a", "b", "c"), {"a": 1, "b": 1, "c": 1}),
        (3, ("a",), {"a": 3}),
    ],
)
def test_cameras_have_one_or_three_channels(
    make_demonstrations, make_images, channels, names, expected
):
    demonstrations = make_demonstrations(images=make_images(channels=channels), camera_names=names)
    demonstrations.validate()
    found = {name: view.shape[1] for name, view in demonstrations.camera_images.items()}
    assert found == expected


def test_without_pictures_there_are_no_cameras(demonstrations):
    assert demonstrations.camera_images == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": np.zeros((14, 3, 5, 4))}, "images has dtype float64, expected uint8"),
        ({"images": np.zeros((14, 5, 4), np.uint8)}, r"images has shape \(14, 5, 4\), expected"),
        ({"images": np.zeros((14, 6, 0, 4), np.uint8)}, r"images has shape \(14, 6, 0, 4\)"),
        ({"images": np.zeros((13, 6, 5, 4), np.uint8)}, "images has 13 rows, expected 14"),
        ({"images": np.zeros((14, 3, 5, 4), np.uint8)}, r"images has 3 channels.*\('wrist', 'fr"),
        ({"camera_names": None, "images": np.zeros((14, 4, 5, 4), np.uint8)}, "has 4 channels"),
        ({"images": None}, "camera_names is .*expected None, as there are no images"),
        ({"camera_names": ("a", "a")}, r"camera_names is \('a', 'a'\), expected distinct"),
        ({"camera_names": ("a/b", "c")}, "camera_names is .*without '/'"),
    ],
)
def test_pictures_are_validated(filmed, change, message):
    with pytest.raises(ValueError, match=message):
        replace(filmed, **change).validate()
