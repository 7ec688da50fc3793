"""Pictures in videos, of v3.0 (many episodes to a file) and of v2.1 (one)."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_v2_files import write_old

from dppo_rllib.datasets import read_demonstrations, read_image_shape, write_demonstrations
from dppo_rllib.datasets.convert import lerobot_episodes
from dppo_rllib.datasets.hub import push_dataset

av = pytest.importorskip("av", reason="PyAV is not installed")

FRONT = "observation.images.front"
EPISODES_FILE = "meta/episodes/chunk-000/file-000.parquet"
VIDEO_FILE = f"videos/{FRONT}/chunk-000/file-000.mp4"
FPS = 20


def encode(file, pictures, fps=FPS, codec="libx264"):
    """A video of pictures [T, H, W, 3], with a key picture every ten."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(file), "w") as container:
        stream = container.add_stream(codec, rate=fps, options={"g": "10", "crf": "5"})
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def levels(count):
    """Pictures of one grey each, so that each can be told from the others."""
    grey = np.linspace(0, 250, count).round().astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (count, 32, 48, 3)).copy()


def add_camera(root, **fields):
    info = json.loads((root / "meta/info.json").read_text())
    names = ["height", "width", "channels"]
    info["features"][FRONT] = {"dtype": "video", "shape": [32, 48, 3], "names": names}
    (root / "meta/info.json").write_text(json.dumps(info | fields))


@pytest.fixture
def filmed_v3(tmp_path, make_demonstrations):
    """Episodes of 5, 2 and 7 frames in one video."""
    root = write_demonstrations(make_demonstrations(), tmp_path / "d")
    encode(root / VIDEO_FILE, levels(14))
    add_camera(root)
    table = pq.read_table(root / EPISODES_FILE)
    for name, values in (
        (f"videos/{FRONT}/chunk_index", pa.array([0, 0, 0])),
        (f"videos/{FRONT}/file_index", pa.array([0, 0, 0])),
        (f"videos/{FRONT}/from_timestamp", pa.array([0.0, 5 / FPS, 7 / FPS])),
        (f"videos/{FRONT}/to_timestamp", pa.array([5 / FPS, 7 / FPS, 14 / FPS])),
    ):
        table = table.append_column(name, values)
    pq.write_table(table, root / EPISODES_FILE)
    return root


def check(images, pictures):
    difference = images.astype(int) - np.moveaxis(pictures, -1, 1).astype(int)
    assert np.abs(difference).max() <= 4  # two greys are 19 apart


def test_pictures_of_all_episodes_are_decoded(filmed_v3):
    read = read_demonstrations(filmed_v3)
    assert read.camera_names == ("front",) and read_image_shape(filmed_v3) == (3, 32, 48)
    check(read.images, levels(14))


@pytest.mark.parametrize("episodes", [[2], [1, 0], [2, 1, 0]])
def test_pictures_of_some_episodes_are_found_in_the_video(filmed_v3, episodes):
    read = read_demonstrations(filmed_v3, episodes=episodes)
    parts = {0: levels(14)[:5], 1: levels(14)[5:7], 2: levels(14)[7:]}
    check(read.images, np.concatenate([parts[episode] for episode in episodes]))


def test_a_video_an_episode(tmp_path, make_demonstrations):
    root = write_old(make_demonstrations(), tmp_path / "old")
    path = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    add_camera(root, video_path=path)
    parts = np.split(levels(14), [5, 7])
    for episode, part in enumerate(parts):
        file = path.format(episode_chunk=episode // 2, video_key=FRONT, episode_index=episode)
        encode(root / file, part)
    check(read_demonstrations(root).images, levels(14))
    converted = write_demonstrations(lerobot_episodes(root), tmp_path / "new")
    check(read_demonstrations(converted).images, levels(14))


def test_av1_as_lerobot_encodes_it(filmed_v3):
    encode(filmed_v3 / VIDEO_FILE, levels(14), codec="libsvtav1")
    images = read_demonstrations(filmed_v3).images
    expected = np.moveaxis(levels(14), -1, 1)
    assert np.abs(images.astype(int) - expected.astype(int)).max() <= 9


def test_videos_are_left_alone_where_no_camera_is_read(filmed_v3, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    assert read_demonstrations(filmed_v3, cameras=()).images is None
    with pytest.raises(ImportError, match=r'pip install "dppo_rllib\[video\]"'):
        read_demonstrations(filmed_v3)


def test_a_missing_video_is_named(filmed_v3):
    (filmed_v3 / VIDEO_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"{VIDEO_FILE} is missing"):
        read_demonstrations(filmed_v3)


def test_a_damaged_video_is_named(filmed_v3):
    (filmed_v3 / VIDEO_FILE).write_bytes(b"no video")
    with pytest.raises(ValueError, match=f"{VIDEO_FILE}: episode 0: is no readable video"):
        read_demonstrations(filmed_v3)


def test_pictures_that_are_missing_are_named(filmed_v3):
    encode(filmed_v3 / VIDEO_FILE, levels(12))
    with pytest.raises(ValueError, match=r"episode 2: picture 5 of 7 is missing, expected at 0\.6"):
        read_demonstrations(filmed_v3)


def test_pictures_between_the_frames_are_refused(filmed_v3):
    encode(filmed_v3 / VIDEO_FILE, levels(14), fps=30)
    with pytest.raises(ValueError, match="episode 0: a picture is at .*expected at fps=20"):
        read_demonstrations(filmed_v3)


def test_pictures_of_another_size_are_refused(filmed_v3):
    encode(filmed_v3 / VIDEO_FILE, levels(14)[:, :16])
    with pytest.raises(ValueError, match="episode 0: pictures are 16 x 48, expected 32 x 48"):
        read_demonstrations(filmed_v3)


def test_a_dataset_that_lacks_a_video_is_not_pushed(filmed_v3):
    (filmed_v3 / VIDEO_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"file-000\.mp4 is missing"):
        push_dataset(filmed_v3, "someone/lift")
