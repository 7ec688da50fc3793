"""What pre-training reads: a part of a dataset, and more than fits into memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import two_modes
from ray.rllib.core import DEFAULT_MODULE_ID
from two_modes import demonstrations

from dppo_rllib import DiffusionBC, DiffusionBCConfig, GaussianBCConfig
from dppo_rllib.algorithms.apply_settings import apply_settings
from dppo_rllib.datasets import StreamedChunks, read_demonstrations, write_demonstrations

EPISODES = 40
# Bytes for 40 of 120 frames: two pools of two numbers a frame, and a row group twice.
LIMIT = 40 * (8 + 48 + 4 * 8 + 96) + 4 * 8


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=4, include_dashboard=False, ignore_reinit_error=True)
    ray.cloudpickle.register_pickle_by_value(two_modes)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An episode to a row group."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dppo_rllib.datasets.lerobot_writer._ROW_GROUP_BYTES", 1)
        path = tmp_path_factory.mktemp("data") / "two_modes"
        return write_demonstrations(demonstrations(EPISODES), path)


def small_config(dataset: Path | str, learners: int = 0, **training: Any) -> DiffusionBCConfig:
    settings = {
        "network": {"mlp_dims": (16, 16, 16), "time_dim": 8},
        "horizon_steps": 2,
        "act_steps": 2,
        "denoising_steps": 4,
        "minibatch_size": 7,
        "ema_start_epoch": 1,
        "validation_fraction": 0.25,
        "learner_threads": 1,
    }
    config = DiffusionBCConfig().training(dataset=dataset, **(settings | training))
    config.learners(num_learners=learners, num_cpus_per_learner=0.1).debugging(seed=3)
    config.num_cpus_for_main_process = 0.1
    return config


def train(algo: DiffusionBC, epochs: int) -> list[dict[str, Any]]:
    return [algo.train()["learners"][DEFAULT_MODULE_ID] for _ in range(epochs)]


def weights(algo: DiffusionBC) -> dict[str, np.ndarray]:
    return algo.learner_group.get_weights()[DEFAULT_MODULE_ID]


def test_streams_train_on_pools_of_the_same_samples(dataset: Path) -> None:
    algo = small_config(dataset, dataset_memory_limit=LIMIT).build_algo()
    in_memory = small_config(dataset).build_algo()
    learner, other = algo.learner_group._learner, in_memory.learner_group._learner
    assert isinstance(learner._train, StreamedChunks)
    assert len(learner._train) == len(other._train)
    assert len(list(learner._train.pools(None))) >= 3
    # The same validation samples, in the same order, with the same noise and weights.
    in_memory.learner_group.set_weights(algo.learner_group.get_weights())
    assert learner._validation_loss() == pytest.approx(other._validation_loss(), rel=1e-5)
    losses = [float(epoch["train_loss"]) for epoch in train(algo, 12)]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    algo.stop()
    in_memory.stop()


@pytest.mark.slow
def test_one_and_two_learners_stream_to_the_same_weights(dataset: Path) -> None:
    first = small_config(dataset, dataset_memory_limit=LIMIT).build_algo()
    initial = weights(first)
    second = small_config(dataset, learners=2, dataset_memory_limit=LIMIT).build_algo()
    second.learner_group.set_weights({DEFAULT_MODULE_ID: initial})
    one, two = train(first, 2), train(second, 2)
    for key in initial:
        np.testing.assert_allclose(
            weights(first)[key], weights(second)[key], rtol=1e-4, atol=2e-6, err_msg=key
        )
    found = [[float(epoch["train_loss"]) for epoch in run] for run in (one, two)]
    np.testing.assert_allclose(*found, rtol=1e-4)
    first.stop()
    second.stop()


def test_a_stream_that_is_resumed_equals_the_unbroken_one(dataset: Path, tmp_path: Path) -> None:
    unbroken = small_config(dataset, dataset_memory_limit=LIMIT).build_algo()
    train(unbroken, 2)
    unbroken.save_to_path(str(tmp_path / "checkpoint"))
    train(unbroken, 2)
    resumed = DiffusionBC.from_checkpoint(str(tmp_path / "checkpoint"))
    train(resumed, 2)
    first, second = weights(unbroken), weights(resumed)
    for key in first:
        np.testing.assert_array_equal(first[key], second[key], err_msg=key)
    unbroken.stop()
    resumed.stop()


def test_a_limit_that_is_too_small_is_refused_before_anything_is_built(dataset: Path) -> None:
    config = small_config(dataset, dataset_memory_limit=100)
    with pytest.raises(ValueError, match=r"dataset_memory_limit=100: .* expected at least"):
        config.validate()
    with pytest.raises(ValueError, match="dataset_memory_limit=-1: expected a positive number"):
        small_config(dataset, dataset_memory_limit=-1).validate()


@pytest.mark.parametrize("config_class", [DiffusionBCConfig, GaussianBCConfig])
def test_statistics_are_those_of_the_split(dataset: Path, config_class: Any) -> None:
    read = read_demonstrations(dataset, episodes=range(3, 9))
    config = config_class().training(dataset=dataset, dataset_split="3:9")
    for name, values in (("obs", read.observations), ("action", read.actions)):
        for end in ("min", "max"):
            found = np.array(config.normalization[f"{name}_{end}"], np.float32)
            np.testing.assert_array_equal(found, getattr(values, end)(axis=0))
    whole = config_class().training(dataset=dataset).normalization
    assert config.normalization != whole
    # In whichever way it is set.
    later = config_class().training(dataset=dataset)
    apply_settings(later, {"dataset_split": "3:9"})
    assert later.normalization == config.normalization
    later.training(dataset_split=None)
    assert later.normalization == whole


def test_only_the_split_is_read(dataset: Path) -> None:
    algo = small_config(dataset, dataset_split="3:11").build_algo()
    learner = algo.learner_group._learner
    assert (len(learner._train), len(learner._validation)) == (6 * 3, 2 * 3)
    algo.stop()


def test_a_dataset_of_the_hub_is_trained_on_by_name(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub.constants", reason="huggingface_hub is not installed")
    from fake_hub import running_hub

    with running_hub(monkeypatch, tmp_path / "cache") as server:
        commit = server.add_directory("someone/modes", dataset)
        config = DiffusionBCConfig()
        apply_settings(config, {"dataset": "hf://someone/modes"})
        assert config.dataset == f"hf://someone/modes@{commit}"
        assert config.normalization == small_config(dataset).normalization
        # Only what tells the statistics has been downloaded so far.
        assert not [request for request in server.requests if "data/chunk" in request]
        algo = small_config(config.dataset).build_algo()
        assert np.isfinite(float(train(algo, 1)[0]["train_loss"]))
        algo.stop()


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("valid", "split 'valid' is 'valid', expected a range .* the name of one: train"),
        ("9:3", "split '9:3' is '9:3', expected first < end <= 40"),
        ("3:41", "expected first < end <= 40, the number of episodes"),
    ],
)
def test_a_split_that_is_not_there(dataset: Path, split: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusionBCConfig().training(dataset=dataset, dataset_split=split)
