"""Recordings that are drawn anew, and what robosuite 1.5 itself would record."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dppo_rllib.datasets.convert import drawn_robomimic_episodes, robomimic_episodes
from dppo_rllib.datasets.episodes import concatenate
from dppo_rllib.environments.robomimic.manipulation import proprioception
from dppo_rllib.environments.robomimic.simulation import Simulation
from dppo_rllib.environments.robomimic.vector_env import RobomimicVectorEnv

h5py = pytest.importorskip("h5py")

FILES = Path(__file__).parents[2] / "golden" / "robomimic"
ROW = np.array([0])


def read(path, **options):
    return concatenate(robomimic_episodes(path, **options))


def draw(path, **options):
    return concatenate(drawn_robomimic_episodes(path, **options))


@pytest.fixture
def short(tmp_path):
    """Three frames of Square."""
    file = tmp_path / "square.hdf5"
    shutil.copy(FILES / "square.hdf5", file)
    with h5py.File(file, "a") as content:
        demo = content["data/demo_0"]
        names = []
        demo.visititems(lambda name, at: names.append(name) if hasattr(at, "shape") else None)
        for name in names:
            values = demo[name][::12]
            del demo[name]
            demo[name] = values
    return file


def test_pictures_are_those_that_the_environment_shows(short):
    try:
        env = RobomimicVectorEnv("square", pixels=True, image_size=32)
    except RuntimeError as error:
        pytest.skip(str(error))
    with h5py.File(short) as content:
        states = content["data/demo_0/states"][()]
    expected = []
    for state in states:
        env.simulation.restore(0, state)
        expected.append(np.moveaxis(env.draw(ROW)[0], -1, 0))
    env.close()
    calls = []
    drawn = draw(short, image_size=32, progress=lambda *at: calls.append(at))
    np.testing.assert_array_equal(drawn.images, expected)
    assert np.abs(drawn.images[0].astype(int) - drawn.images[2]).max() > 50
    assert drawn.camera_names == ("agentview",) and calls == [(1, 3), (2, 3), (3, 3)]
    found = read(short)
    np.testing.assert_array_equal(drawn.observations, found.observations[:, :9])
    np.testing.assert_array_equal(drawn.actions, found.actions)


def test_states_of_another_scene_are_refused(short):
    with h5py.File(short, "a") as content:
        demo = content["data/demo_0"]
        states = demo["states"][()]
        demo["states"][1, 2] += 0.1
    with pytest.raises(ValueError, match=r"in frame 1 the hand of robot 0 is 0\.0.. m from"):
        draw(short)
    with h5py.File(short, "a") as content:
        del content["data/demo_0/states"]
        content["data/demo_0/states"] = states[:, 1:]
    with pytest.raises(ValueError, match=r"states has shape \(3, 44\), expected \(3, 45\)"):
        draw(short)


def test_what_robosuite_observes_is_read_as_our_environments_show_it(task, scenes, tmp_path):
    scene = scenes(task)
    simulation = Simulation(scene, 1)
    simulation.start(0, np.random.default_rng(0))
    actions = np.random.default_rng(1).uniform(-1, 1, (8, task.action_dim))
    shown, arrays = [], {"actions": actions}
    for action in actions:
        observed = scene.env.step(action)[0]
        simulation.step(ROW, action[None])
        parts = proprioception(simulation, ROW), task.objects(simulation, ROW)
        shown.append(np.concatenate(parts, axis=-1)[0])
        for robot in range(task.robots):
            for part in ("eef_pos", "eef_quat", "gripper_qpos"):
                name = f"robot{robot}_{part}"
                arrays.setdefault(f"obs/{name}", []).append(observed[name])
        arrays.setdefault("obs/object", []).append(observed["object-state"])
    with h5py.File(FILES / "lift.hdf5") as content:
        args = json.loads(content["data"].attrs["env_args"])
    args["env_name"] = task.robosuite_name
    args["env_kwargs"]["robots"] = ["Panda"] * task.robots
    with h5py.File(tmp_path / "a.hdf5", "w") as content:
        content.create_group("data").attrs["env_args"] = json.dumps(args)
        for name, values in arrays.items():
            content[f"data/demo_0/{name}"] = np.array(values)
    found = read(tmp_path / "a.hdf5").observations
    np.testing.assert_allclose(found, shown, rtol=0, atol=1e-5)
