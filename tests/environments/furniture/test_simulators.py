"""The choice of a simulator."""

import importlib.util

import pytest

from dppo_rllib.environments.furniture.scene import scene
from dppo_rllib.environments.furniture.simulation import Simulation
from dppo_rllib.environments.furniture.simulators import Simulator, make_simulator


def test_mujoco_is_divided_among_threads():
    simulator = make_simulator("mujoco", scene("lamp"), 2, 2)
    assert isinstance(simulator, Simulation) and isinstance(simulator, Simulator)
    assert len(simulator.positions) == 2
    simulator.close()


def test_other_names_are_refused():
    message = r"simulator='physx': expected one of \['mujoco', 'mujoco_warp'\]"
    with pytest.raises(ValueError, match=message):
        make_simulator("physx", scene("lamp"), 1)


def test_mujoco_warp_knows_no_threads():
    with pytest.raises(ValueError, match="num_threads=2: expected 1 with simulator='mujoco_warp'"):
        make_simulator("mujoco_warp", scene("lamp"), 1, 2)


@pytest.mark.skipif(
    importlib.util.find_spec("mujoco_warp") is not None, reason="mujoco_warp is installed"
)
def test_what_installs_it_is_said_where_it_is_missing():
    with pytest.raises(ImportError, match=r'mujoco_warp is not installed; pip install "dppo_rllib'):
        make_simulator("mujoco_warp", scene("lamp"), 1)
