from pathlib import Path

import numpy as np
import pytest

from dppo_rllib.datasets import Demonstrations, write_demonstrations


def _make_demonstrations(
    lengths=(5, 2, 7), observation_dim=4, action_dim=3, seed=0, **fields
) -> Demonstrations:
    rng = np.random.default_rng(seed)
    frames = sum(lengths)
    last = np.cumsum(lengths) - 1
    terminated = np.zeros(frames, dtype=bool)
    truncated = np.zeros(frames, dtype=bool)
    terminated[last[::2]] = True
    truncated[last[1::2]] = True
    values = {
        "observations": rng.normal(size=(frames, observation_dim)).astype(np.float32),
        "actions": rng.normal(size=(frames, action_dim)).astype(np.float32),
        "rewards": rng.normal(size=frames).astype(np.float32),
        "terminated": terminated,
        "truncated": truncated,
        "episode_lengths": np.array(lengths, dtype=np.int64),
        "fps": 20.0,
        "task": "lift the cube",
    }
    return Demonstrations(**(values | fields))


def _make_images(frames=14, channels=3, height=5, width=4, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(
        0, 256, (frames, channels, height, width), dtype=np.uint8
    )


@pytest.fixture(scope="session")
def make_images():
    """Noise, `[frames, channels, height, width]`."""
    return _make_images


@pytest.fixture(scope="session")
def make_demonstrations():
    return _make_demonstrations


@pytest.fixture
def demonstrations() -> Demonstrations:
    return _make_demonstrations()


@pytest.fixture
def filmed() -> Demonstrations:
    """Of two cameras."""
    return _make_demonstrations(images=_make_images(channels=6), camera_names=("wrist", "front"))


@pytest.fixture
def filmed_dataset(filmed: Demonstrations, tmp_path: Path) -> Path:
    return write_demonstrations(filmed, tmp_path / "filmed")


@pytest.fixture
def dataset(demonstrations: Demonstrations, tmp_path: Path) -> Path:
    return write_demonstrations(demonstrations, tmp_path / "lift")


@pytest.fixture
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "golden" / "golden.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("ds/")}
