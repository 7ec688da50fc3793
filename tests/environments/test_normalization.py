import json

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dppo_rllib.environments import Normalization


def f32(*values):
    return np.array(values, np.float32)


@pytest.fixture
def ranges():
    return {
        "obs_min": f32(-1, 0),
        "obs_max": f32(3, 0.5),
        "action_min": f32(-2, 0, 1),
        "action_max": f32(2, 1, 4),
    }


@pytest.fixture
def normalization(ranges):
    return Normalization(**ranges)


def test_observations_follow_the_official_formula(official_npz):
    normalization = Normalization.from_npz(official_npz)
    with np.load(official_npz) as official:
        low, high = official["obs_min"], official["obs_max"]
        for name in official.files:
            np.testing.assert_array_equal(getattr(normalization, name), official[name])
    obs = np.random.default_rng(0).normal(size=(5, 2, 11)).astype(np.float32)
    normalized = normalization.normalize_obs(obs)
    assert normalized.dtype == np.float32
    np.testing.assert_array_equal(normalized, 2 * ((obs - low) / (high - low + 1e-6) - 0.5))


def test_actions_follow_the_official_formula_without_epsilon(official_npz):
    normalization = Normalization.from_npz(official_npz)
    with np.load(official_npz) as official:
        low, high = official["action_min"], official["action_max"]
    action = np.random.default_rng(0).uniform(-1, 1, (5, 4, 3)).astype(np.float32)
    raw = normalization.denormalize_action(action)
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw, (action + 1) / 2 * (high - low) + low)


def test_ends_of_the_ranges(normalization):
    obs = normalization.normalize_obs(f32(-1, 0, 3, 0.5, 1, 0.25).reshape(3, 2))
    np.testing.assert_allclose(obs, [[-1, -1], [1, 1], [0, 0]], atol=1e-5)
    raw = normalization.denormalize_action(np.stack([f32(-1, -1, -1), f32(1, 1, 1)]))
    np.testing.assert_array_equal(raw, [[-2, 0, 1], [2, 1, 4]])


def test_values_beyond_the_ranges_are_not_clipped(normalization):
    assert normalization.normalize_obs(f32(5, 0)[None])[0, 0] == pytest.approx(2, abs=1e-5)
    assert normalization.denormalize_action(f32(2, 0, 0)[None])[0, 0] == 4


def test_float64_observations_are_taken_as_float32(normalization):
    obs = np.random.default_rng(0).normal(size=(4, 2))
    expected = normalization.normalize_obs(obs.astype(np.float32))
    np.testing.assert_array_equal(normalization.normalize_obs(obs), expected)


def test_a_constant_column_becomes_the_lower_end():
    constant = np.full((3, 1), 0.25)
    normalization = Normalization.from_data(constant, constant)
    assert (normalization.normalize_obs(constant) == -1).all()
    assert (normalization.normalize_action(constant) == -1).all()
    assert (normalization.denormalize_action(np.zeros((1, 1))) == 0.25).all()


_numbers = st.floats(-100, 100, width=32)


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=2, max_dims=2), elements=_numbers))
def test_data_lie_in_their_own_ranges_and_actions_come_back(data):
    normalization = Normalization.from_data(data, data)
    assert (np.abs(normalization.normalize_obs(data)) <= 1 + 1e-5).all()
    action = normalization.normalize_action(data)
    np.testing.assert_allclose(normalization.denormalize_action(action), data, atol=5e-5)


@given(st.integers(1, 5), st.integers(1, 5))
def test_ranges_of_data_are_by_column(obs_dim, action_dim):
    rng = np.random.default_rng(obs_dim)
    obs, actions = rng.normal(size=(6, obs_dim)), rng.normal(size=(6, action_dim))
    normalization = Normalization.from_data(obs, actions)
    np.testing.assert_array_equal(normalization.obs_max, obs.max(0).astype(np.float32))
    np.testing.assert_array_equal(normalization.action_min, actions.min(0).astype(np.float32))


def test_without_ranges_observations_pass_and_actions_spread_over_the_space():
    normalization = Normalization.from_spaces(gymnasium.spaces.Box(f32(-2, 0), f32(2, 1)))
    obs = f32(5, -7, 0)[None]
    np.testing.assert_array_equal(normalization.normalize_obs(obs), obs)
    np.testing.assert_array_equal(normalization.denormalize_action(f32(1, 0)[None]), [[2, 0.5]])
    assert Normalization.from_dict(normalization.to_dict()) == normalization


def test_json_keeps_every_bit(normalization):
    odd = Normalization(f32(0.1), f32(1 / 3), f32(-1e-30), f32(2e20))
    for each in (normalization, odd):
        assert Normalization.from_dict(json.loads(json.dumps(each.to_dict()))) == each


def test_equality_is_by_value(normalization, ranges):
    assert normalization == Normalization(**{k: v.copy() for k, v in ranges.items()})
    assert normalization != Normalization(**ranges | {"action_max": f32(2, 1, 5)})
    assert normalization != Normalization(**ranges | {"obs_min": None, "obs_max": None})
    assert normalization != "something else"


@pytest.fixture
def stats(ranges):
    """What the authors' normalizer of Furniture-Bench saves."""
    names = {"obs_min": "observations.min", "obs_max": "observations.max"}
    names |= {"action_min": "actions.min", "action_max": "actions.max"}
    return {f"stats.{names[key]}": torch.tensor(value) for key, value in ranges.items()}


def test_ranges_of_furniture_bench_are_read_from_its_state_dict(stats, normalization, tmp_path):
    torch.save(stats, tmp_path / "normalization.pth")
    read = Normalization.from_pth(tmp_path / "normalization.pth")
    assert read == normalization == Normalization.from_file(tmp_path / "normalization.pth")
    obs = np.random.default_rng(0).uniform(-1, 1, (7, 2)).astype(np.float32)
    low, high = stats["stats.observations.min"].numpy(), stats["stats.observations.max"].numpy()
    official = 2 * (obs - low) / (high - low) - 1
    difference = np.abs(read.normalize_obs(obs) - official)
    assert (difference <= 2e-6 / (high - low) * np.abs(official + 1) + 1e-6).all()


def test_which_file_it_is_is_told_by_its_ending(official_npz):
    assert Normalization.from_file(official_npz) == Normalization.from_npz(official_npz)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"stats.actions.min": None}, r"holds \['stats.actions.max', .*, expected"),
        ({"stats.actions.mean": torch.ones(3)}, "holds .*stats.actions.mean.*, expected"),
        ({"stats.actions.min": [1.0]}, "stats.actions.min is no tensor of floats"),
        ({"stats.actions.min": torch.ones(3, dtype=torch.int64)}, "is no tensor of floats"),
        ({"stats.actions.min": 9 * torch.ones(3)}, r"action_min\[0\]=9.0: expected at most"),
    ],
)
def test_other_state_dicts_are_refused(stats, change, message, tmp_path):
    content = {key: value for key, value in (stats | change).items() if value is not None}
    torch.save(content, tmp_path / "normalization.pth")
    with pytest.raises(ValueError, match=message):
        Normalization.from_pth(tmp_path / "normalization.pth")


def test_other_files_than_state_dicts_are_refused(tmp_path):
    path = tmp_path / "normalization.pth"
    torch.save([torch.ones(2)], path)
    with pytest.raises(ValueError, match="holds list, expected"):
        Normalization.from_pth(path)
    torch.save({"stats.actions.min": np.random.default_rng()}, path)  # objects that code builds
    with pytest.raises(ValueError, match="no torch file of tensors only"):
        Normalization.from_pth(path)
    path.write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no torch file of tensors only"):
        Normalization.from_pth(path)
    with pytest.raises(FileNotFoundError):
        Normalization.from_pth(tmp_path / "absent.pth")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"obs_max": None}, "obs_min and obs_max: expected both or neither"),
        ({"obs_max": f32(np.inf, 1)}, "obs_min, obs_max: expected finite numbers"),
        ({"obs_min": f32(-1, 0.75)}, r"obs_min\[1\]=0.75: expected at most obs_max\[1\]=0.5"),
    ],
)
def test_contradictory_ranges_are_refused(ranges, change, message):
    with pytest.raises(ValueError, match=message):
        Normalization(**ranges | change)


def test_an_unbounded_action_space_is_refused():
    with pytest.raises(ValueError, match="action_space=.*unbounded; expected a normalization"):
        Normalization.from_spaces(gymnasium.spaces.Box(-np.inf, 1, (2,)))


def test_data_without_rows_or_with_nan_are_refused():
    with pytest.raises(ValueError, match="observations: 0 rows, expected at least 1"):
        Normalization.from_data(np.zeros((0, 2)), np.zeros((0, 2)))
    with pytest.raises(ValueError, match="obs_min, obs_max: expected finite"):
        Normalization.from_data(np.full((1, 2), np.nan), np.zeros((1, 2)))


def test_missing_and_unknown_entries_are_named(normalization, tmp_path):
    np.savez(tmp_path / "some.npz", obs_min=f32(0), obs_max=f32(1))
    with pytest.raises(ValueError, match=r"missing \['action_min', 'action_max'\], expected"):
        Normalization.from_npz(tmp_path / "some.npz")
    with pytest.raises(FileNotFoundError):
        Normalization.from_npz(tmp_path / "absent.npz")
    with pytest.raises(ValueError, match=r"keys \['obs_min'\], expected"):
        Normalization.from_dict({"obs_min": [0.0]})
    with pytest.raises(ValueError, match="keys .*'x'.*, expected"):
        Normalization.from_dict(normalization.to_dict() | {"x": [0.0]})
