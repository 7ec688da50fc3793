import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from dppo_rllib.datasets import read_demonstrations, write_demonstrations
from dppo_rllib.datasets.convert import drawn_robomimic_episodes, robomimic_episodes
from dppo_rllib.datasets.episodes import concatenate

h5py = pytest.importorskip("h5py")
pytest.importorskip("numba")
pytest.importorskip("mujoco")

GOLDEN = Path(__file__).parents[2] / "golden" / "robomimic"
NAMES = {
    "lift": "Lift",
    "can": "PickPlaceCan",
    "square": "NutAssemblySquare",
    "transport": "TwoArmTransport",
}
CAMERAS = {
    "lift": ["robot0_eye_in_hand"],
    "can": ["robot0_eye_in_hand"],
    "square": ["agentview"],
    "transport": ["shouldercamera0", "shouldercamera1"],
}
CONTROLLER = {
    "type": "OSC_POSE",
    "input_max": 1,
    "input_min": -1,
    "output_max": [0.05, 0.05, 0.05, 0.5, 0.5, 0.5],
    "output_min": [-0.05, -0.05, -0.05, -0.5, -0.5, -0.5],
    "kp": 150,
    "damping": 1,
    "impedance_mode": "fixed",
    "control_delta": True,
    "interpolation": None,
}


def read(path, **options):
    return concatenate(robomimic_episodes(path, **options))


def draw(path, **options):
    return concatenate(drawn_robomimic_episodes(path, **options))


def env_args(task="lift", version="1.4.1", **controller):
    return {
        "env_name": NAMES[task],
        "env_version": version,
        "env_kwargs": {
            "control_freq": 20,
            "controller_configs": {**copy.deepcopy(CONTROLLER), **controller},
            "robots": ["Panda"] * (2 if task == "transport" else 1),
        },
    }


def with_parts(args, **changes):
    """The controller as robosuite 1.5 describes it."""
    controller = args["env_kwargs"]["controller_configs"]
    del controller["control_delta"]
    controller |= {"input_type": "delta", **changes}
    args["env_kwargs"]["controller_configs"] = {
        "type": "BASIC",
        "body_parts": {"right": controller},
    }
    return args


def robots_of(rng, count, frames):
    """The robots' part of states, by the names of its arrays."""
    parts = {}
    for robot in range(count):
        parts[f"robot{robot}_eef_pos"] = rng.normal(size=(frames, 3)) + [0, 0, 1]
        parts[f"robot{robot}_eef_quat"] = Rotation.random(frames, rng=rng).as_quat()
        parts[f"robot{robot}_gripper_qpos"] = rng.uniform(0, 0.04, (frames, 2))
    return parts


def objects_of(rng, task, robots):
    """The objects' part in the order of 1.4, and in that of 1.5."""
    hand, wrist = robots["robot0_eef_pos"], Rotation.from_quat(robots["robot0_eef_quat"]).inv()
    position = rng.normal(size=hand.shape)
    turn = Rotation.random(len(hand), rng=rng)
    pose = np.concatenate([position, turn.as_quat()], axis=-1)
    if task == "lift":
        relative = hand - position
        return np.concatenate([pose, relative], -1), np.concatenate([pose, -relative], -1)
    if task == "transport":
        others = rng.normal(size=(len(hand), 20))
        relative = np.concatenate([position - hand, rng.normal(size=(len(hand), 9))], -1)
        flags = rng.integers(0, 2, (len(hand), 2))
        return (
            np.concatenate([pose, others, relative, flags], -1),
            np.concatenate([pose, others, flags, relative], -1),
        )
    seen = (wrist * turn).as_quat()
    seen = np.where(seen[:, 3:] < 0, -seen, seen)
    relative = np.concatenate([wrist.apply(position - hand), seen], axis=-1)
    return np.concatenate([pose, relative], -1), np.concatenate([relative, pose], -1)


class File:
    """A file of some demonstrations, and what is in it in the order of 1.4."""

    def __init__(self, path, args, task="lift", lengths=(3, 2), order="1.4", size=None):
        rng = np.random.default_rng(0)
        self.path, self.states, self.actions, self.rewards, self.images = path, {}, {}, {}, {}
        with h5py.File(path, "w") as content:
            data = content.create_group("data")
            data.attrs["env_args"] = args if isinstance(args, str) else json.dumps(args)
            for i, length in enumerate(lengths):
                name = f"demo_{i}"
                robots = robots_of(rng, 2 if task == "transport" else 1, length)
                official, newer = objects_of(rng, task, robots)
                self.states[name] = np.concatenate([*robots.values(), official], axis=-1)
                self.actions[name] = rng.uniform(-1, 1, (length, 7 * len(robots) // 3))
                self.rewards[name] = rng.integers(0, 2, length).astype(float)
                arrays = {"obs/object": official if order == "1.4" else newer}
                arrays |= {f"obs/{key}": value for key, value in robots.items()}
                for camera in CAMERAS[task] if size else ():
                    picture = rng.integers(0, 256, (length, *size, 3)).astype(np.uint8)
                    arrays[f"obs/{camera}_image"] = picture
                    self.images.setdefault(name, []).append(picture)
                arrays |= {"actions": self.actions[name], "rewards": self.rewards[name]}
                for key, value in arrays.items():
                    data[f"{name}/{key}"] = value
            content["mask/train"] = np.array(["demo_1"], dtype="S")

    def change(self, name, value=None):
        with h5py.File(self.path, "a") as content:
            del content[name]
            if value is not None:
                content[name] = value
        return self.path


@pytest.fixture
def lift(tmp_path):
    return File(tmp_path / "lift.hdf5", env_args())


def joined(arrays, names=("demo_0", "demo_1")):
    return np.concatenate([arrays[name] for name in names]).astype(np.float32)


@pytest.mark.parametrize("task", NAMES)
def test_states_actions_and_rewards_are_those_of_the_file(tmp_path, task):
    file = File(tmp_path / "a.hdf5", env_args(task), task)
    found = read(file.path)
    np.testing.assert_array_equal(found.observations, joined(file.states))
    np.testing.assert_array_equal(found.actions, joined(file.actions))
    np.testing.assert_array_equal(found.rewards, joined(file.rewards))
    np.testing.assert_array_equal(found.success, joined(file.rewards) == 1)
    assert found.episode_lengths.tolist() == [3, 2] and found.fps == 20
    assert np.flatnonzero(found.truncated).tolist() == [2, 4] and not found.terminated.any()
    assert found.images is None and found.task


@pytest.mark.parametrize("task", NAMES)
def test_the_order_of_robosuite_1_5_is_turned_into_that_of_1_4(tmp_path, task):
    args = env_args(task, version="1.5.1")
    file = File(tmp_path / "a.hdf5", args, task, order="1.5")
    found = read(file.path)
    np.testing.assert_allclose(found.observations, joined(file.states), rtol=0, atol=1e-6)


@pytest.mark.parametrize("task", NAMES)
def test_values_tell_the_order_and_not_the_version_alone(tmp_path, task):
    file = File(tmp_path / "a.hdf5", env_args(task, version="1.5.2"), task)
    np.testing.assert_array_equal(read(file.path).observations, joined(file.states))
    file = File(tmp_path / "b.hdf5", env_args(task, version="1.4.1"), task, order="1.5")
    with pytest.raises(ValueError, match=r"obs/object is in no known order.*'1\.4\.1'"):
        read(file.path)


def test_objects_in_neither_order_are_refused(lift):
    lift.change("data/demo_0/obs/object", np.random.default_rng(1).normal(size=(3, 10)))
    with pytest.raises(ValueError, match=r"off by .* by that of 1\.4, expected at most"):
        read(lift.path)


def test_demonstrations_come_by_number(tmp_path):
    file = File(tmp_path / "a.hdf5", env_args(), lengths=range(1, 13))
    assert read(file.path).episode_lengths.tolist() == list(range(1, 13))
    first = read(file.path, max_episodes=3)
    np.testing.assert_array_equal(
        first.actions, joined(file.actions, ["demo_0", "demo_1", "demo_2"])
    )


def test_a_mask_chooses_demonstrations(lift):
    found = read(lift.path, filter_key="train", task="up")
    np.testing.assert_array_equal(found.actions, joined(lift.actions, ["demo_1"]))
    assert found.task == "up"
    with pytest.raises(ValueError, match="mask has no 'valid', only: train"):
        read(lift.path, filter_key="valid")


@pytest.mark.parametrize("task", NAMES)
def test_pictures_come_camera_by_camera_with_the_robots_part(tmp_path, task):
    file = File(tmp_path / "a.hdf5", env_args(task), task, size=(4, 5))
    found = read(file.path, pixels=True)
    assert found.camera_names == tuple(CAMERAS[task])
    for i, camera in enumerate(CAMERAS[task]):
        recorded = np.concatenate([file.images[name][i] for name in ("demo_0", "demo_1")])
        np.testing.assert_array_equal(np.moveaxis(found.camera_images[camera], 1, -1), recorded)
    robots = joined(file.states)[:, : 18 if task == "transport" else 9]
    np.testing.assert_array_equal(found.observations, robots)


def test_pictures_survive_the_native_format(tmp_path):
    file = File(tmp_path / "a.hdf5", env_args("transport"), "transport", size=(4, 4))
    found = read(file.path, pixels=True)
    again = read_demonstrations(write_demonstrations(found, tmp_path / "d"))
    np.testing.assert_array_equal(again.images, found.images)
    np.testing.assert_array_equal(again.observations, found.observations)


def test_pictures_of_different_sizes_are_refused(tmp_path):
    file = File(tmp_path / "a.hdf5", env_args(), size=(4, 4))
    pictures = np.zeros((2, 5, 4, 3), np.uint8)
    file.change("data/demo_1/obs/robot0_eye_in_hand_image", pictures)
    with pytest.raises(ValueError, match=r"pictures of \(5, 4\), expected \(4, 4\)"):
        read(file.path, pixels=True)


def test_a_damaged_block_names_file_and_episode(lift):
    with h5py.File(lift.path, "a") as content:
        del content["data/demo_1/actions"]
        actions = lift.actions["demo_1"]
        checked = {"chunks": actions.shape, "fletcher32": True}
        content["data/demo_1"].create_dataset("actions", data=actions, **checked)
        place = content["data/demo_1/actions"].id.get_chunk_info(0).byte_offset
    damaged = bytearray(lift.path.read_bytes())
    damaged[place] ^= 1
    lift.path.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"lift\.hdf5: /data/demo_1/actions: cannot be read"):
        read(lift.path)


def test_rewards_may_be_missing(lift):
    lift.change("data/demo_0/rewards")
    found = read(lift.path)
    np.testing.assert_array_equal(found.rewards, [0, 0, 0, *lift.rewards["demo_1"]])
    assert found.success is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("demo_0/actions", None, r"/data/demo_0 has no actions, only: obs, rewards"),
        ("demo_1/obs/object", None, r"/data/demo_1 has no obs/object, only: robot0_eef_pos"),
        ("demo_0/obs", None, r"/data/demo_0 has no obs/robot0_eef_pos, only: nothing"),
        ("demo_0/actions", np.zeros((3, 6)), r"actions has shape \(3, 6\), expected \(3, 7\)"),
        ("demo_0/rewards", np.zeros(2), r"rewards has shape \(2,\), expected 3 rows"),
        ("demo_0/obs/object", np.zeros((3, 14)), r"object has shape \(3, 14\), expected \(3, 10\)"),
        (
            "demo_0/actions",
            np.full((3, 7), np.nan),
            r"a\.hdf5: /data/demo_0: actions\[0, 0\] is nan",
        ),
    ],
)
def test_wrong_arrays_are_named(tmp_path, name, value, message):
    file = File(tmp_path / "a.hdf5", env_args())
    with pytest.raises(ValueError, match=message):
        read(file.change(f"data/{name}", value))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (env_args(kp=200), r"controller_configs\.kp = 200, expected 150"),
        (env_args(damping=2), r"controller_configs\.damping = 2, expected 1"),
        (env_args(type="JOINT_POSITION"), r"type = 'JOINT_POSITION', expected 'OSC_POSE'"),
        (env_args(control_delta=False), "control_delta = False, expected True"),
        (env_args(output_max=0.05), "output_max = 0.05, expected"),
        (env_args(impedance_mode="variable"), "impedance_mode = 'variable', expected 'fixed'"),
        (env_args() | {"env_name": "Door"}, r"env_name = 'Door', expected one of \['Lift'"),
        (env_args() | {"env_kwargs": None}, "env_kwargs = None, expected an object"),
        (with_parts(env_args(), input_type="absolute"), r"body_parts\.right\.input_type"),
        (with_parts(env_args("transport")), "input_ref_frame = 'base', expected 'world'"),
        ("no json", "env_args is 'no json', expected JSON"),
        ("[]", r"env_args is '\[\]', expected an object"),
    ],
)
def test_other_environments_are_refused(tmp_path, args, message):
    file = File(tmp_path / "a.hdf5", args)
    with pytest.raises(ValueError, match=rf"a\.hdf5: .*{message}"):
        read(file.path)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("control_freq", 10, "control_freq = 10, expected 20"),
        ("robots", ["Sawyer"], r"robots = \['Sawyer'\], expected \['Panda'\]"),
        ("robots", "Panda", None),
        ("controller_configs", None, "controller_configs = None, expected an object"),
        ("controller_configs", [CONTROLLER], None),
    ],
)
def test_arguments_of_the_environment_are_checked(tmp_path, field, value, message):
    args = env_args()
    args["env_kwargs"][field] = value
    file = File(tmp_path / "a.hdf5", args)
    if message is None:
        read(file.path)
        return
    with pytest.raises(ValueError, match=message):
        read(file.path)


def test_controllers_as_robosuite_1_5_describes_them(tmp_path):
    read(File(tmp_path / "a.hdf5", with_parts(env_args(version="1.5.1"))).path)
    args = with_parts(env_args("transport"), input_ref_frame="world")
    assert read(File(tmp_path / "b.hdf5", args, "transport").path).action_dim == 14


def test_files_that_are_none_of_robomimics(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.hdf5 is missing"):
        read(tmp_path / "none.hdf5")
    (tmp_path / "words.hdf5").write_text("words")
    with pytest.raises(ValueError, match="is no readable HDF5 file"):
        read(tmp_path / "words.hdf5")
    h5py.File(tmp_path / "empty.hdf5", "w").close()
    with pytest.raises(ValueError, match="has no group data with env_args"):
        read(tmp_path / "empty.hdf5")
    empty = File(tmp_path / "a.hdf5", env_args(), lengths=())
    with pytest.raises(ValueError, match="holds no demonstrations"):
        read(empty.path)
    with pytest.raises(ValueError, match="max_episodes=0: expected at least 1"):
        read(empty.path, max_episodes=0)
    with pytest.raises(ValueError, match="image_size=0: expected at least 1"):
        draw(empty.path, image_size=0)


def test_without_h5py_an_error_tells_how_to_install_it(lift, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r'pip install "dppo_rllib\[robomimic\]"'):
        read(lift.path)


@pytest.mark.parametrize("task", ["lift", "can", "square"])
def test_recordings_of_robosuite_are_read(task):
    found = read(GOLDEN / f"{task}.hdf5")
    assert found.observations.shape == (25, 19 if task == "lift" else 23)
    # The hand hangs above the table, beside it what is to be grasped.
    assert (np.abs(found.observations[:, 2] - 1) < 0.2).all()
    assert (np.abs(found.observations[:, 11] - 0.85) < 0.05).all()
