"""How episodes begin, against what the benchmark's fork says of its randomness."""

import numpy as np
import pytest

from dppo_rllib.environments.furniture.assemblies import ASSEMBLIES
from dppo_rllib.environments.furniture.scene import OBSTACLE, REST
from dppo_rllib.environments.furniture.starts import RANDOMNESS, draw

# Joints (degrees), obstacle (m), force (N) and torque (Nm) of a part whose factors are 1.
LIMITS = {"low": (5, 0.02, 0.2, 0.007), "med": (10, 0.04, 0.5, 0.01)}
FORCES = {"one_leg": (25, 1, 1, 1, 1), "lamp": (8, 15, 30), "round_table": (30, 4, 20)}
TORQUES = {"one_leg": (70, 1, 1, 1, 1), "lamp": (16, 20, 60), "round_table": (60, 4, 10)}


@pytest.mark.parametrize("randomness", LIMITS)
@pytest.mark.parametrize("name", ASSEMBLIES)
def test_starts_fill_their_ranges_and_stay_within(name, randomness):
    generator = np.random.default_rng(0)
    drawn = [draw(ASSEMBLIES[name], RANDOMNESS[randomness], generator) for _ in range(1000)]
    joint, obstacle, force, torque = LIMITS[randomness]
    filled(np.array([start.joints - REST for start in drawn]), np.radians(joint))
    moved = np.array([start.obstacle - OBSTACLE for start in drawn])
    filled(moved[:, :2], obstacle)
    wrenches = np.array([start.wrenches for start in drawn])
    x, y = wrenches[..., 0], wrenches[..., 1]
    filled(np.hypot(x, y), force * np.array(FORCES[name]), low=0)
    filled(np.arctan2(y, x), np.pi)
    filled(wrenches[..., 5], torque * np.array(TORQUES[name]))
    # Nothing is lifted or tilted.
    assert not moved[:, 2].any() and not wrenches[..., 2:5].any()


def filled(values, limit, low=-1):
    """Within its limits, and by a thousand draws within 2% of both ends."""
    shares = values / limit
    assert (shares >= low).all() and (shares <= 1).all()
    assert (shares.max(axis=0) > 0.98).all() and (shares.min(axis=0) < low + 0.02).all()
