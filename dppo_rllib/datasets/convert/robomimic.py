"""Robomimic's HDF5 files, with states, with recorded pictures, or with pictures drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.spatial.transform import Rotation

from dppo_rllib.datasets.convert.one_episode import one_episode
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


def robomimic_episodes(
    path: str | Path,
    *,
    task: str | None = None,
    filter_key: str | None = None,
    pixels: bool = False,
    max_episodes: int | None = None,
) -> Iterator[Demonstrations]:
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
    Where a demonstration has no rewards, they are 0; where all have some, success is a reward of 1,
    which robosuite gives for nothing less.

    Args:
        path: The HDF5 file.
        task: What is done, in words; None says it for the recorded task.
        filter_key: One of the file's masks, as "train"; None takes all demonstrations.
        pixels: Take pictures of the task's cameras, in the size in which they were recorded,
            `[M, 3 * cameras, H, W]`; states are then the robots' part alone.
        max_episodes: Take the first ones, by number; None takes all.

    Yields:
        Episode by episode.

    Raises:
        FileNotFoundError: The file is missing.
        ImportError: h5py or the simulator's packages are not there.
        ValueError: The file is none of Robomimic's, an array is missing or has a wrong shape, the
            recorded environment is not ours, or the objects' part is in no known order.
    """
    with open_recording(path, filter_key=filter_key, max_episodes=max_episodes) as recording:
        order = "" if pixels else _order(recording)
        size = None
        for demo in recording.demos:
            states, images = _recorded_robots(recording, demo), None
            if pixels:
                images = _recorded_images(recording, demo, size)
                size = images.shape[2:]
            else:
                objects = _recorded_objects(recording, demo)
                states = np.concatenate(
                    [states, _in_official_order(recording.task.name, order, states, objects)], -1
                )
            yield _episode(recording, demo, states, images, task)


def drawn_robomimic_episodes(
    path: str | Path,
    *,
    task: str | None = None,
    image_size: int = 96,
    filter_key: str | None = None,
    max_episodes: int | None = None,
    progress: DrawProgress | None = None,
) -> Iterator[Demonstrations]:
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

    Yields:
        Episode by episode.

    Raises:
        FileNotFoundError: The file is missing.
        ImportError: h5py or robosuite is not there.
        UserError: Nothing can be drawn here.
        ValueError: As for `robomimic_episodes`, or states are not of our scene.
    """
    if image_size < 1:
        raise ValueError(f"image_size={image_size}: expected at least 1")
    with open_recording(path, filter_key=filter_key, max_episodes=max_episodes) as recording:
        from dppo_rllib.environments.cameras import Cameras
        from dppo_rllib.environments.robomimic.scene import Scene
        from dppo_rllib.environments.robomimic.simulation import Simulation

        scene = Scene(recording.task.robosuite_name, recording.task.robots)
        size = 1 + scene.model.nq + scene.model.nv
        simulation = Simulation(scene, 1)
        # All places are checked before anything is drawn, which takes long.
        frames = [_check_places(recording, demo, simulation, size) for demo in recording.demos]
        drawn = 0
        cameras = Cameras(scene.model, recording.task.cameras, (image_size, image_size))
        channels = 3 * len(recording.task.cameras)
        try:
            for demo, length in zip(recording.demos, frames, strict=True):
                states = recording.array(demo, "states", size).astype(np.float64)
                robots = _restored_robots(simulation, states)
                if "obs" in demo:
                    robots = _recorded_robots(recording, demo)
                images = np.empty((length, channels, image_size, image_size), np.uint8)
                for frame, state in enumerate(states):
                    simulation.restore(0, state)
                    images[frame] = np.moveaxis(cameras.draw(simulation.datas[0]), -1, 0)
                    drawn += 1
                    if progress is not None:
                        progress(drawn, sum(frames))
                yield _episode(recording, demo, robots, images, task)
        finally:
            cameras.close()


def _restored_robots(simulation: Simulation, states: Float[np.ndarray, "M size"]) -> Robots:
    from dppo_rllib.environments.robomimic.manipulation import proprioception

    robots = np.empty((len(states), 9 * len(simulation.scene.arms.hands)))
    for frame, state in enumerate(states):
        simulation.restore(0, state)
        robots[frame] = proprioception(simulation, _ROW)[0]
    return robots


def _check_places(recording: Recording, demo: Any, simulation: Simulation, size: int) -> int:
    """Refuses states of a scene whose robots stand elsewhere, or joints are in another order.

    Returns:
        How many states there are.
    """
    states = recording.array(demo, "states", size).astype(np.float64)
    if "obs" not in demo:
        return len(states)
    restored, recorded = _restored_robots(simulation, states), _recorded_robots(recording, demo)
    for robot in range(recording.task.robots):
        hand = slice(9 * robot, 9 * robot + 3)
        distances = np.linalg.norm(recorded[:, hand] - restored[:, hand], axis=-1)
        if distances.max() > _MISPLACED:
            raise ValueError(
                f"{recording.path}: restored states are not of our scene: {demo.name}: in frame "
                f"{distances.argmax()} the hand of robot {robot} is {distances.max():.3f} m from "
                f"where it was recorded, expected at most {_MISPLACED}"
            )
    return len(states)


def _recorded_robots(recording: Recording, demo: Any) -> Robots:
    parts = [
        recording.array(demo, f"obs/robot{robot}_{part}", width)
        for robot in range(recording.task.robots)
        for part, width in _ROBOT_PARTS.items()
    ]
    return np.concatenate(parts, axis=-1).astype(np.float64)


def _recorded_objects(recording: Recording, demo: Any) -> Objects:
    return recording.array(demo, "obs/object", recording.task.object_dim).astype(np.float64)


def _recorded_images(
    recording: Recording, demo: Any, size: tuple[int, ...] | None
) -> UInt8[np.ndarray, "M C H W"]:
    """Channels of one camera after those of the other; all of one size, None takes any."""
    parts = []
    for camera in recording.task.cameras:
        name = f"obs/{camera}_image"
        pictures = recording.array(demo, name, None)
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
            raise ValueError(
                f"{recording.path}: {demo.name}/{name} has shape {pictures.shape} and dtype "
                f"{pictures.dtype}, expected [T, H, W, 3] uint8"
            )
        size = pictures.shape[1:3] if size is None else size
        if pictures.shape[1:3] != size:
            raise ValueError(
                f"{recording.path}: {demo.name}/{name} has pictures of {pictures.shape[1:3]}, "
                f"expected {size}, as all others"
            )
        parts.append(np.moveaxis(pictures, -1, 1))
    return np.concatenate(parts, axis=1)


def _order(recording: Recording) -> str:
    """Whose order the objects' part has: "1.4" or "1.5"; see `robomimic_episodes`."""
    name = recording.task.name
    orders = ["1.4", "1.5"] if recording.version.startswith("1.5") else ["1.4"]
    distances: dict[str, list[np.ndarray]] = {order: [] for order in orders}
    for demo in recording.demos:
        robots = _recorded_robots(recording, demo)
        objects = _recorded_objects(recording, demo)
        for order in orders:
            part = objects if order == "1.4" else _reordered(name, objects)
            distances[order].append(_misfit(name, robots, part))
    misfits = {order: float(np.median(np.concatenate(d))) for order, d in distances.items()}
    best = min(misfits, key=lambda order: misfits[order])
    if not misfits[best] <= _MISFIT:
        tried = ", ".join(f"{misfits[order]:.3f} m by that of {order}" for order in misfits)
        raise ValueError(
            f"{recording.path}: obs/object is in no known order of robosuite for {name}, recorded "
            f"with env_version {recording.version!r}: relative positions are off by {tried}, "
            f"expected at most {_MISFIT}"
        )
    return best


def _in_official_order(task: str, order: str, robots: Robots, objects: Objects) -> Objects:
    """The objects' part as robosuite 1.4 has it."""
    if order == "1.4":
        return objects
    objects = _reordered(task, objects)
    return _with_relative_pose(robots, objects) if task in ("can", "square") else objects


def _reordered(task: str, objects: Objects) -> Objects:
    """From the order of robosuite 1.5."""
    if task == "lift":
        return np.concatenate([objects[:, :7], -objects[:, 7:]], axis=-1)
    if task == "transport":
        return np.concatenate([objects[:, :27], objects[:, 29:], objects[:, 27:29]], axis=-1)
    return np.roll(objects, -7, axis=-1)


def _misfit(task: str, robots: Robots, objects: Objects) -> Float[np.ndarray, " M"]:
    """By how many metres a relative position differs from that of hand and object."""
    hand, position = robots[:, :3], objects[:, :3]
    if task == "lift":
        relative, expected = objects[:, 7:10], hand - position
    elif task == "transport":
        relative, expected = objects[:, 27:30], position - hand
    else:
        relative, expected = objects[:, 7:10], _wrist(robots).apply(position - hand)
    return np.linalg.norm(relative - expected, axis=-1)


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


def _episode(
    recording: Recording,
    demo: Any,
    states: Float[np.ndarray, "M Do"],
    images: UInt8[np.ndarray, "M C H W"] | None,
    task: str | None,
) -> Demonstrations:
    manipulation = recording.task
    rewards = None if "rewards" not in demo else recording.array(demo, "rewards", None)
    return one_episode(
        f"{recording.path}: {demo.name}",
        observations=states,
        actions=recording.array(demo, "actions", manipulation.action_dim),
        rewards=rewards,
        terminated=False,
        truncated=True,
        fps=recording.fps,
        task=_IN_WORDS[manipulation.name] if task is None else task,
        success=None if rewards is None or not recording.rewarded else rewards >= 1,
        images=images,
        camera_names=None if images is None else manipulation.cameras,
    )
