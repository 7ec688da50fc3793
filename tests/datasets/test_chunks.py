import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dppo_rllib.datasets import ActionChunks, split_episodes


class Scale:
    """Halves observations, and actions down to a tenth."""

    def normalize_obs(self, obs, /):
        return obs * np.float32(0.5)

    def normalize_action(self, action, /):
        return action * np.float32(0.1)


@st.composite
def lengths_and_steps(draw):
    lengths = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    horizon_steps = draw(st.integers(1, max(lengths)))
    cond_steps = draw(st.integers(1, 5))
    return tuple(lengths), horizon_steps, cond_steps


def naive_samples(demonstrations, horizon_steps, cond_steps):
    """(observation rows, action rows) of every sample, in plain Python."""
    samples = []
    first = 0
    for length in demonstrations.episode_lengths.tolist():
        for t in range(length - horizon_steps + 1):
            history = [first + max(t - back, 0) for back in range(cond_steps - 1, -1, -1)]
            samples.append((history, [first + t + i for i in range(horizon_steps)]))
        first += length
    return samples


@settings(max_examples=50)
@given(
    steps=lengths_and_steps(),
    img_cond_steps=st.integers(1, 4),
    data=st.data(),
)
def test_pictures_are_those_of_the_frames(
    make_demonstrations, make_images, steps, img_cond_steps, data
):
    lengths, horizon_steps, cond_steps = steps
    images = make_images(sum(lengths), height=2, width=3)
    demonstrations = make_demonstrations(lengths, images=images)
    episodes = data.draw(st.none() | st.permutations(range(len(lengths))))
    if episodes is not None:
        episodes = episodes[: data.draw(st.integers(1, len(episodes)))]
        horizon_steps = min(horizon_steps, max(lengths[i] for i in episodes))
    chunks = ActionChunks(
        demonstrations,
        None,
        horizon_steps=horizon_steps,
        cond_steps=cond_steps,
        img_cond_steps=img_cond_steps,
        episodes=episodes,
    )
    chosen = demonstrations if episodes is None else demonstrations.select(episodes)
    samples = naive_samples(chosen, horizon_steps, img_cond_steps)
    obs, _ = chunks.gather(torch.arange(len(chunks)))
    assert obs["rgb"].dtype == torch.uint8
    np.testing.assert_array_equal(obs["rgb"], chosen.images[[history for history, _ in samples]])
    assert obs["state"].shape[1] == cond_steps


def test_pictures_are_not_copied_on_the_cpu(filmed):
    for episodes in (None, [2, 0]):
        chunks = ActionChunks(filmed, None, horizon_steps=2, episodes=episodes)
        assert chunks.images.data_ptr() == filmed.images.ctypes.data


@pytest.mark.filterwarnings("error")
def test_read_only_pictures_are_copied(filmed):
    filmed.images.setflags(write=False)
    chunks = ActionChunks(filmed, None, horizon_steps=2)
    np.testing.assert_array_equal(chunks.images, filmed.images)


def test_without_pictures_there_is_no_rgb(demonstrations):
    obs, _ = ActionChunks(demonstrations, None, horizon_steps=2).gather(torch.tensor([0]))
    assert list(obs) == ["state"]
    with pytest.raises(ValueError, match="img_cond_steps is 2, expected 1 without pictures"):
        ActionChunks(demonstrations, None, horizon_steps=2, img_cond_steps=2)


def test_samples_are_those_of_the_official_dataset(golden, make_demonstrations):
    demonstrations = make_demonstrations(
        (5, 2, 7), observations=golden["ds/states"], actions=golden["ds/actions"]
    )
    chunks = ActionChunks(demonstrations, None, horizon_steps=3, cond_steps=2)
    before = chunks.starts - chunks.episode_starts
    np.testing.assert_array_equal(torch.stack([chunks.starts, before], 1), golden["ds/indices"])
    obs, actions = chunks.gather(torch.arange(len(chunks)))
    np.testing.assert_array_equal(obs["state"], golden["ds/out_state"])
    np.testing.assert_array_equal(actions, golden["ds/out_actions"])


@settings(max_examples=50)
@given(steps=lengths_and_steps(), random=st.randoms(use_true_random=False))
def test_gather_equals_a_loop(make_demonstrations, steps, random):
    lengths, horizon_steps, cond_steps = steps
    demonstrations = make_demonstrations(lengths)
    chunks = ActionChunks(demonstrations, None, horizon_steps=horizon_steps, cond_steps=cond_steps)
    samples = naive_samples(demonstrations, horizon_steps, cond_steps)
    assert len(chunks) == len(samples)
    chosen = random.choices(range(len(samples)), k=8)
    obs, actions = chunks.gather(torch.tensor(chosen))
    for row, index in enumerate(chosen):
        history, ahead = samples[index]
        np.testing.assert_array_equal(obs["state"][row], demonstrations.observations[history])
        np.testing.assert_array_equal(actions[row], demonstrations.actions[ahead])


@settings(max_examples=50)
@given(steps=lengths_and_steps())
def test_windows_stay_in_their_episode_and_pad_with_its_first_frame(make_demonstrations, steps):
    lengths, horizon_steps, cond_steps = steps
    episode = np.repeat(np.arange(len(lengths)), lengths).astype(np.float32)
    frame = np.concatenate([np.arange(length) for length in lengths]).astype(np.float32)
    labels = np.stack([episode, frame], axis=1)
    marked = make_demonstrations(lengths, observations=labels, actions=labels)
    chunks = ActionChunks(marked, None, horizon_steps=horizon_steps, cond_steps=cond_steps)
    obs, actions = chunks.gather(torch.arange(len(chunks)))
    episodes = torch.cat([obs["state"][:, :, 0], actions[:, :, 0]], dim=1)
    assert (episodes == episodes[:, :1]).all()
    now = actions[:, :1, 1]
    assert torch.equal(actions[:, :, 1], now + torch.arange(horizon_steps))
    back = torch.arange(cond_steps - 1, -1, -1)
    assert torch.equal(obs["state"][:, :, 1], (now - back).clamp(min=0))


def test_frames_are_normalised_once_and_for_all(demonstrations):
    chunks = ActionChunks(demonstrations, Scale(), horizon_steps=2)
    obs, actions = chunks.gather(torch.tensor([0]))
    np.testing.assert_array_equal(obs["state"][0, 0], demonstrations.observations[0] * 0.5)
    np.testing.assert_array_equal(actions[0, 1], demonstrations.actions[1] * np.float32(0.1))


class Fixed:
    """Normalises by arrays of given widths."""

    def __init__(self, obs_scale, action_scale):
        self.obs_scale, self.action_scale = np.float32(obs_scale), np.float32(action_scale)

    def normalize_obs(self, obs, /):
        return obs * self.obs_scale

    def normalize_action(self, action, /):
        return action * self.action_scale


@pytest.mark.parametrize(
    ("normalization", "message"),
    [
        (Fixed([1] * 5, 1), r"normalization does not fit observations \(14, 4\)"),
        (Fixed(1, np.ones((2, 1, 3))), r"normalized actions have shape \(2, 14, 3\), expected"),
        (Fixed(1, [1, np.nan, 1]), r"normalized actions\[0, 1\] is nan"),
    ],
)
def test_normalization_that_does_not_fit_is_refused(demonstrations, normalization, message):
    with pytest.raises(ValueError, match=message):
        ActionChunks(demonstrations, normalization, horizon_steps=2)


def test_only_the_chosen_episodes_are_held(demonstrations):
    chunks = ActionChunks(demonstrations, None, horizon_steps=3, episodes=[2])
    assert len(chunks) == 5
    np.testing.assert_array_equal(chunks.actions, demonstrations.actions[7:])


def test_later_changes_of_the_arrays_do_not_reach_the_samples(demonstrations):
    chunks = ActionChunks(demonstrations, None, horizon_steps=1)
    before = chunks.actions.clone()
    demonstrations.actions[:] = 0
    assert torch.equal(chunks.actions, before)


def test_episodes_shorter_than_a_chunk_are_dropped_and_counted(demonstrations):
    chunks = ActionChunks(demonstrations, None, horizon_steps=6)
    assert (len(chunks), chunks.dropped_episodes) == (2, 2)


def test_no_episode_as_long_as_a_chunk_names_the_lengths(demonstrations):
    with pytest.raises(ValueError, match=r"horizon_steps is 8, expected at most 7.*\[5 2 7\]"):
        ActionChunks(demonstrations, None, horizon_steps=8)


@pytest.mark.parametrize("field", ["horizon_steps", "cond_steps", "img_cond_steps"])
def test_step_counts_are_positive(demonstrations, field):
    steps = {"horizon_steps": 2, "cond_steps": 2, "img_cond_steps": 1} | {field: 0}
    with pytest.raises(ValueError, match=f"{field} is 0, expected at least 1"):
        ActionChunks(demonstrations, None, **steps)


def test_invalid_demonstrations_are_refused(make_demonstrations):
    broken = make_demonstrations(actions=np.full((14, 3), np.nan, dtype=np.float32))
    with pytest.raises(ValueError, match=r"actions\[0, 0\] is nan"):
        ActionChunks(broken, None, horizon_steps=2)


@pytest.mark.gpu
def test_samples_are_gathered_on_the_device(demonstrations):
    chunks = ActionChunks(demonstrations, None, horizon_steps=3, cond_steps=2, device="cuda")
    host = ActionChunks(demonstrations, None, horizon_steps=3, cond_steps=2)
    indices = torch.arange(len(chunks))
    obs, actions = chunks.gather(indices.to("cuda"))
    assert actions.device.type == "cuda"
    assert torch.equal(actions.cpu(), host.gather(indices)[1])
    assert torch.equal(obs["state"].cpu(), host.gather(indices)[0]["state"])


@pytest.mark.gpu
def test_pictures_of_the_chosen_episodes_are_gathered_on_the_device(filmed):
    arguments = {"horizon_steps": 2, "img_cond_steps": 3, "episodes": [2, 0]}
    chunks = ActionChunks(filmed, None, device="cuda", **arguments)
    host = ActionChunks(filmed, None, **arguments)
    assert chunks.images.device.type == "cuda" and len(chunks.images) == 12
    indices = torch.arange(len(chunks))
    expected = host.gather(indices)[0]["rgb"]
    assert torch.equal(chunks.gather(indices.to("cuda"))[0]["rgb"].cpu(), expected)


@given(st.integers(2, 200), st.floats(0, 0.99), st.integers(0, 2**32))
def test_split_parts_episodes_without_loss(num_episodes, fraction, seed):
    train, validation = split_episodes(num_episodes, fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([train, validation])), np.arange(num_episodes))
    assert len(train) >= 1
    assert (len(validation) >= 1) == (fraction > 0)
    assert abs(len(validation) - fraction * num_episodes) <= 1
    again = split_episodes(num_episodes, fraction, seed)
    assert np.array_equal(train, again[0])


def test_split_depends_on_the_seed():
    assert not np.array_equal(split_episodes(100, 0.2, 0)[1], split_episodes(100, 0.2, 1)[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0.1), "num_episodes is 0"),
        ((1, 0.1), "num_episodes is 1, expected at least 2"),
        ((5, 1.0), "validation_fraction is 1.0"),
        ((5, -0.1), "validation_fraction is -0.1"),
    ],
)
def test_split_refuses_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        split_episodes(*arguments, seed=0)
