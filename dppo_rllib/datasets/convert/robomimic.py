"""Robomimic's HDF5 files, with states, with recorded pictures, or with pictures drawn anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from dppo_rllib.datasets.convert.robomimic_file import Recording, open_recording
from dppo_rllib.datasets.demonstrations import Demonstrations

if TYPE_CHECKING:
    from dppo_rllib.environments.robomimic.simulation import Simulation

#: Called after every drawn frame with (frames drawn, frames to draw).
DrawProgress = Callable[[int, int], None]

_IN_WORDS = {
    "lift": "lift the cube",
    "can": "put the can into its bin",
    "square": "put the square nut onto its peg",
    "transport": "hand the hammer over into its bin, and put the cube into the bin for trash",
}
_ROBOT_PARTS = {"eef_pos": 3, "eef_quat": 4, "gripper_qpos": 2}
# Of relative positions in metres: robosuite 1.5 records some of them a step late.
_MISFIT = 0.03
# Of a restored hand in metres: recorded ones may be a physics step, 2 ms, late.
_MISPLACED = 0.02
_ROW = np.array([0])

Robots = Float[np.ndarray, "M Dr"]
Objects = Float[np.ndarray, "M Do"]


def read_robomimic_hdf5(
    path: str | Path,
    *,
    task: str | None = None,
    filter_key: str | None = None,
    pixels: bool = False,
    max_episodes: int | None = None,
) -> Demonstrations:
    """Read a file of Robomimic (`low_dim` or `image`) as Demonstrations of our environments.

    States are `[M, 9 * robots + objects]`, laid out as robosuite 1.4 recorded them and
    `RobomimicVectorEnv` shows them. robosuite 1.5 orders the objects' part differently: Lift's
    relative position has the opposite sign, Can's and Square's come first, and Transport's two
    flags come before the relative positions. Whether a file has that order is decided by its
    values, since files exist that say 1.5 and hold the order of 1.4: the relative position must
    be what positions of hand and object make of it. The order of 1.5 is considered only where
    `env_version` begins with 1.5. Can's and Square's relative poses, which 1.5 records a step
    late, are then computed anew.

    Episodes are truncated at their end, whatever `dones` says: these tasks do not terminate.
    Where a file has no rewards, they are 0.

    Args:
        path: The HDF5 file.
        task: What is done, in words; None says it for the recorded task.
        filter_key: One of the file's masks, as "train"; None takes all demonstrations.
        pixels: Take pictures of the task's cameras, in the size in which they were recorded,
            `[M, 3 * cameras, H, W]`; states are then the robots' part alone.
        max_episodes: Take the first ones, by number; None takes all.

    Raises:
        FileNotFoundError: The file is missing.
        ImportError: h5py or the simulator's packages are not there.
        ValueError: The file is none of Robomimic's, an array is missing or has a wrong shape, the
            recorded environment is not ours, or the objects' part is in no known order.
    """
    with open_recording(path, filter_key=filter_key, max_episodes=max_episodes) as recording:
        states = _recorded_robots(recording)
        images = None
        if pixels:
            images = _recorded_images(recording)
        else:
            width = recording.task.object_dim
            parts = [recording.array(demo, "obs/object", width) for demo in recording.demos]
            objects = _official_order(recording, states, np.concatenate(parts).astype(np.float64))
            states = np.concatenate([states, objects], axis=-1)
        return _demonstrations(recording, states, images, task)


def render_robomimic_hdf5(
    path: str | Path,
    *,
    task: str | None = None,
    image_size: int = 96,
    filter_key: str | None = None,
    max_episodes: int | None = None,
    progress: DrawProgress | None = None,
) -> Demonstrations:
    """Read a file of Robomimic and draw pictures of its simulator states, `data/demo_*/states`.

    Pictures are those that `RobomimicVectorEnv` with `pixels=True` shows, `[M, 3 * cameras, S, S]`
    of the task's cameras; states are the robots' part as recorded, or as the simulator has it
    where a file holds no observations. What is drawn is our model: sizes that robosuite draws at
    random for every model are not part of a state. Lift's cube, whose edges vary by 4 mm, always
    has the size that it has in our environment.

    Args:
        path: The HDF5 file.
        task: What is done, in words; None says it for the recorded task.
        image_size: Height and width of a picture, `S`.
        filter_key: One of the file's masks, as "train"; None takes all demonstrations.
        max_episodes: Take the first ones, by number; None takes all.
        progress: See `DrawProgress`.

    Raises:
        FileNotFoundError: The file is missing.
        ImportError: h5py or robosuite is not there.
        RuntimeError: Nothing can be drawn here.
        ValueError: As for `read_robomimic_hdf5`, or states are not of our scene.
    """
    if image_size < 1:
        raise ValueError(f"image_size={image_size}: expected at least 1")
    with open_recording(path, filter_key=filter_key, max_episodes=max_episodes) as recording:
        from dppo_rllib.environments.cameras import Cameras
        from dppo_rllib.environments.robomimic.scene import Scene
        from dppo_rllib.environments.robomimic.simulation import Simulation

        scene = Scene(recording.task.robosuite_name, recording.task.robots)
        size = 1 + scene.model.nq + scene.model.nv
        parts = [recording.array(demo, "states", size) for demo in recording.demos]
        states = np.concatenate(parts).astype(np.float64)
        simulation = Simulation(scene, 1)
        robots = _restored_robots(simulation, states)
        if "obs" in recording.demos[0]:
            recorded = _recorded_robots(recording)
            _check_places(recording, recorded, robots)
            robots = recorded
        cameras = Cameras(scene.model, recording.task.cameras, (image_size, image_size))
        channels = 3 * len(recording.task.cameras)
        images = np.empty((len(states), channels, image_size, image_size), np.uint8)
        try:
            for frame, state in enumerate(states):
                simulation.restore(0, state)
                images[frame] = np.moveaxis(cameras.draw(simulation.datas[0]), -1, 0)
                if progress is not None:
                    progress(frame + 1, len(states))
        finally:
            cameras.close()
        return _demonstrations(recording, robots, images, task)


def _restored_robots(simulation: Simulation, states: Float[np.ndarray, "M size"]) -> Robots:
    from dppo_rllib.environments.robomimic.manipulation import proprioception

    robots = np.empty((len(states), 9 * len(simulation.scene.arms.hands)))
    for frame, state in enumerate(states):
        simulation.restore(0, state)
        robots[frame] = proprioception(simulation, _ROW)[0]
    return robots


def _check_places(recording: Recording, recorded: Robots, restored: Robots) -> None:
    """Refuses states of a scene whose robots stand elsewhere, or joints are in another order."""
    for robot in range(recording.task.robots):
        hand = slice(9 * robot, 9 * robot + 3)
        distances = np.linalg.norm(recorded[:, hand] - restored[:, hand], axis=-1)
        if distances.max() > _MISPLACED:
            raise ValueError(
                f"{recording.path}: restored states are not of our scene: in frame "
                f"{distances.argmax()} the hand of robot {robot} is {distances.max():.3f} m from "
                f"where it was recorded, expected at most {_MISPLACED}"
            )


def _recorded_robots(recording: Recording) -> Robots:
    rows = []
    for demo in recording.demos:
        parts = [
            recording.array(demo, f"obs/robot{robot}_{part}", width)
            for robot in range(recording.task.robots)
            for part, width in _ROBOT_PARTS.items()
        ]
        rows.append(np.concatenate(parts, axis=-1))
    return np.concatenate(rows).astype(np.float64)


def _recorded_images(recording: Recording) -> UInt8[np.ndarray, "M C H W"]:
    """Channels of one camera after those of the other."""
    cameras = recording.task.cameras
    images, start = None, 0
    total = sum(len(recording.array(demo, "actions", None)) for demo in recording.demos)
    for demo in recording.demos:
        for i, camera in enumerate(cameras):
            name = f"obs/{camera}_image"
            pictures = recording.array(demo, name, None)
            if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
                raise ValueError(
                    f"{recording.path}: {demo.name}/{name} has shape {pictures.shape} and dtype "
                    f"{pictures.dtype}, expected [T, H, W, 3] uint8"
                )
            size = pictures.shape[1:3]
            if images is None:
                images = np.empty((total, 3 * len(cameras), *size), np.uint8)
            if images.shape[2:] != size:
                raise ValueError(
                    f"{recording.path}: {demo.name}/{name} has pictures of {size}, expected "
                    f"{images.shape[2:]}, as all others"
                )
            rows = slice(start, start + len(pictures))
            images[rows, 3 * i : 3 * i + 3] = np.moveaxis(pictures, -1, 1)
        start += len(demo["actions"])
    assert images is not None  # there is a demonstration, and a camera
    return images


def _official_order(recording: Recording, robots: Robots, objects: Objects) -> Objects:
    """The objects' part as robosuite 1.4 has it; see `read_robomimic_hdf5`."""
    name = recording.task.name
    orders = {"1.4": objects}
    if recording.version.startswith("1.5"):
        orders["1.5"] = _reordered(name, objects)
    misfits = {version: _misfit(name, robots, part) for version, part in orders.items()}
    best = min(misfits, key=lambda version: misfits[version])
    if not misfits[best] <= _MISFIT:
        tried = ", ".join(f"{misfits[version]:.3f} m by that of {version}" for version in misfits)
        raise ValueError(
            f"{recording.path}: obs/object is in no known order of robosuite for {name}, recorded "
            f"with env_version {recording.version!r}: relative positions are off by {tried}, "
            f"expected at most {_MISFIT}"
        )
    if best == "1.5" and name in ("can", "square"):
        return _with_relative_pose(robots, orders[best])
    return orders[best]


def _reordered(task: str, objects: Objects) -> Objects:
    """From the order of robosuite 1.5."""
    if task == "lift":
        return np.concatenate([objects[:, :7], -objects[:, 7:]], axis=-1)
    if task == "transport":
        return np.concatenate([objects[:, :27], objects[:, 29:], objects[:, 27:29]], axis=-1)
    return np.roll(objects, -7, axis=-1)


def _misfit(task: str, robots: Robots, objects: Objects) -> float:
    """By how many metres a relative position differs from that of hand and object; the median."""
    hand, position = robots[:, :3], objects[:, :3]
    if task == "lift":
        relative, expected = objects[:, 7:10], hand - position
    elif task == "transport":
        relative, expected = objects[:, 27:30], position - hand
    else:
        relative, expected = objects[:, 7:10], _wrist(robots).apply(position - hand)
    return float(np.median(np.linalg.norm(relative - expected, axis=-1)))


def _wrist(robots: Robots) -> Rotation:
    """Turns the world's axes into those of the wrist."""
    return Rotation.from_quat(robots[:, 3:7]).inv()


def _with_relative_pose(robots: Robots, objects: Objects) -> Objects:
    """Can's and Square's pose as seen from the hand, of that in the world."""
    wrist = _wrist(robots)
    position = wrist.apply(objects[:, :3] - robots[:, :3])
    turn = (wrist * Rotation.from_quat(objects[:, 3:7])).as_quat()
    turn = np.where(turn[:, 3:] < 0, -turn, turn)
    return np.concatenate([objects[:, :7], position, turn], axis=-1)


def _demonstrations(
    recording: Recording,
    states: Float[np.ndarray, "M Do"],
    images: UInt8[np.ndarray, "M C H W"] | None,
    task: str | None,
) -> Demonstrations:
    manipulation = recording.task
    actions = [recording.array(d, "actions", manipulation.action_dim) for d in recording.demos]
    lengths = np.array([len(part) for part in actions], np.int64)
    truncated = np.zeros(lengths.sum(), bool)
    truncated[np.cumsum(lengths) - 1] = True
    demonstrations = Demonstrations(
        observations=states.astype(np.float32),
        actions=np.concatenate(actions).astype(np.float32),
        rewards=np.concatenate([_rewards(recording, demo) for demo in recording.demos]),
        terminated=np.zeros_like(truncated),
        truncated=truncated,
        episode_lengths=lengths,
        fps=recording.fps,
        task=_IN_WORDS[manipulation.name] if task is None else task,
        images=images,
        camera_names=None if images is None else manipulation.cameras,
    )
    try:
        demonstrations.validate()
    except ValueError as error:
        raise ValueError(f"{recording.path}: {error}") from error
    return demonstrations


def _rewards(recording: Recording, demo: Any) -> Float[np.ndarray, " T"]:
    if "rewards" not in demo:
        return np.zeros(len(demo["actions"]), np.float32)
    return recording.array(demo, "rewards", None).astype(np.float32).reshape(-1)
