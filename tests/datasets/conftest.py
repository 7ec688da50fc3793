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


@pytest.fixture(scope="session")
def make_demonstrations():
    return _make_demonstrations


@pytest.fixture
def demonstrations() -> Demonstrations:
    return _make_demonstrations()


@pytest.fixture
def dataset(demonstrations: Demonstrations, tmp_path: Path) -> Path:
    return write_demonstrations(demonstrations, tmp_path / "lift")


@pytest.fixture
def golden() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[1] / "golden" / "golden.npz") as arrays:
        return {name: arrays[name] for name in arrays.files if name.startswith("ds/")}
