"""Pictures on disk, against the written specification of LeRobot v3.0, and what may be wrong."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dppo_rllib.datasets import (
    read_demonstrations,
    read_image_shape,
    read_statistics,
    write_demonstrations,
)

DATA_FILE = "data/chunk-000/file-000.parquet"
EPISODES_FILE = "meta/episodes/chunk-000/file-000.parquet"
FRONT, WRIST = "observation.images.front", "observation.images.wrist"


def edit_features(dataset, change):
    file = dataset / "meta/info.json"
    info = json.loads(file.read_text())
    change(info["features"])
    file.write_text(json.dumps(info))


def edit_column(dataset, name, change):
    table = pq.read_table(dataset / DATA_FILE)
    place = table.column_names.index(name)
    edited = table.set_column(place, name, change(table[name].combine_chunks()))
    pq.write_table(edited, dataset / DATA_FILE)


def with_bytes(row, content):
    """A change of one picture of a column."""

    def change(column):
        files = column.field("bytes").to_pylist()
        files[row] = content
        arrays = [pa.array(files, pa.binary()), column.field("path")]
        return pa.StructArray.from_arrays(arrays, ["bytes", "path"])

    return change


def encoded(pixels, kind="PNG"):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


# What is written


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    shape=st.tuples(st.sampled_from([1, 3, 6]), st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 99),
)
def test_what_is_written_is_read_to_the_bit(
    tmp_path_factory, lengths, shape, seed, make_demonstrations, make_images
):
    images = make_images(sum(lengths), *shape, seed)
    path = write_demonstrations(
        make_demonstrations(tuple(lengths), images=images), tmp_path_factory.mktemp("d") / "d"
    )
    read = read_demonstrations(path)
    assert read.images.dtype == np.uint8 and read.images.flags.c_contiguous
    np.testing.assert_array_equal(read.images, images)
    assert read.camera_names == tuple(f"camera_{i}" for i in range(max(shape[0] // 3, 1)))
    assert read_image_shape(path) == shape


def test_features_are_those_of_lerobot(filmed_dataset):
    features = json.loads((filmed_dataset / "meta/info.json").read_text())["features"]
    expected = {"dtype": "image", "shape": [5, 4, 3], "names": ["height", "width", "channels"]}
    assert features[FRONT] == features[WRIST] == expected
    assert [name for name in features if "images" in name] == [WRIST, FRONT]


def test_columns_hold_png_files_and_their_names(filmed_dataset, filmed):
    table = pq.read_table(filmed_dataset / DATA_FILE)
    assert table.schema.field(FRONT).type == pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for row, frame in ((0, 0), (6, 1), (13, 6)):
        entry = table[FRONT][row].as_py()
        assert entry["path"] == f"frame-{frame:06d}.png"
        image = Image.open(io.BytesIO(entry["bytes"]))
        assert (image.format, image.mode) == ("PNG", "RGB")
        np.testing.assert_array_equal(np.asarray(image), filmed.images[row, 3:].transpose(1, 2, 0))


def test_png_files_are_not_compressed_again(filmed_dataset):
    metadata = pq.ParquetFile(filmed_dataset / DATA_FILE).metadata.row_group(0)
    columns = [metadata.column(i) for i in range(metadata.num_columns)]
    codecs = {column.path_in_schema: column.compression for column in columns}
    assert codecs[f"{FRONT}.bytes"] == "UNCOMPRESSED"
    assert {v for k, v in codecs.items() if not k.endswith(".bytes")} == {"ZSTD"}


def test_statistics_are_per_channel_in_the_unit_range(filmed_dataset, filmed):
    stats = read_statistics(filmed_dataset)[FRONT]
    expected = filmed.images[:, 3:] / 255
    assert stats["mean"].shape == (3, 1, 1) and stats["count"].tolist() == [14]
    np.testing.assert_allclose(stats["mean"][:, 0, 0], expected.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(stats["max"][:, 0, 0], expected.max((0, 2, 3)), rtol=1e-12)
    row = pq.read_table(filmed_dataset / EPISODES_FILE).to_pylist()[1]
    np.testing.assert_allclose(
        np.array(row[f"stats/{FRONT}/std"])[:, 0, 0], expected[5:7].std((0, 2, 3)), rtol=1e-12
    )
    assert row[f"stats/{FRONT}/count"] == [2]


def test_pictures_count_for_the_size_of_a_file(tmp_path, make_demonstrations, make_images):
    images = make_images(frames=60, height=64, width=64)
    demonstrations = make_demonstrations((20, 20, 20), images=images)
    path = write_demonstrations(demonstrations, tmp_path / "d", data_files_size_in_mb=1)
    assert len(list((path / "data").rglob("*.parquet"))) == 1
    larger = make_demonstrations((40, 40, 40), images=np.repeat(images, 2, axis=0))
    path = write_demonstrations(larger, tmp_path / "e", data_files_size_in_mb=1)
    assert len(list((path / "data").rglob("*.parquet"))) == 2
    np.testing.assert_array_equal(read_demonstrations(path).images, larger.images)
    some = read_demonstrations(path, episodes=[2, 0])
    np.testing.assert_array_equal(some.images, larger.select([2, 0]).images)


# What is read


def test_cameras_are_read_in_the_order_asked_for(filmed_dataset, filmed):
    read = read_demonstrations(filmed_dataset, cameras=["front", "wrist"])
    np.testing.assert_array_equal(read.images, filmed.images[:, [3, 4, 5, 0, 1, 2]])
    assert read.camera_names == ("front", "wrist")
    one = read_demonstrations(filmed_dataset, cameras=["front"], episodes=[1])
    np.testing.assert_array_equal(one.images, filmed.images[5:7, 3:])
    assert read_image_shape(filmed_dataset, cameras=["front"]) == (3, 5, 4)


def test_no_cameras_leave_pictures_alone(filmed_dataset):
    edit_column(filmed_dataset, FRONT, with_bytes(3, b"damaged"))
    read = read_demonstrations(filmed_dataset, cameras=())
    assert read.images is None and read.camera_names is None
    assert read_image_shape(filmed_dataset, cameras=()) is None


def test_rows_in_any_order_are_put_right(filmed_dataset, filmed):
    table = pq.read_table(filmed_dataset / DATA_FILE)
    order = np.random.default_rng(0).permutation(len(table))
    pq.write_table(table.take(order), filmed_dataset / DATA_FILE)
    np.testing.assert_array_equal(read_demonstrations(filmed_dataset).images, filmed.images)


def test_a_dataset_without_pictures_has_none(dataset):
    assert read_demonstrations(dataset).images is None
    assert read_image_shape(dataset) is None


def test_the_only_camera_may_be_nameless(filmed_dataset, filmed):
    def rename(features):
        del features[WRIST]
        features["observation.image"] = features.pop(FRONT)

    edit_features(filmed_dataset, rename)
    table = pq.read_table(filmed_dataset / DATA_FILE)
    names = ["observation.image" if name == FRONT else name for name in table.column_names]
    pq.write_table(table.rename_columns(names), filmed_dataset / DATA_FILE)
    read = read_demonstrations(filmed_dataset)
    assert read.camera_names == ("image",)
    np.testing.assert_array_equal(read.images, filmed.images[:, 3:])


@pytest.mark.parametrize(
    "feature",
    [
        {"shape": [3, 5, 4], "names": ["channels", "height", "width"]},
        {"shape": [5, 4, 3], "names": ["height", "width", "channel"]},
        {"shape": [5, 4, 3], "names": None},
        {"shape": [3, 5, 4], "names": None},
    ],
)
def test_shapes_come_in_several_orders(filmed_dataset, filmed, feature):
    edit_features(filmed_dataset, lambda f: f[FRONT].update(feature))
    np.testing.assert_array_equal(read_demonstrations(filmed_dataset).images, filmed.images)


def test_other_lossless_formats_are_read(filmed_dataset, filmed):
    content = encoded(filmed.images[4, 3:].transpose(1, 2, 0), "BMP")
    edit_column(filmed_dataset, FRONT, with_bytes(4, content))
    np.testing.assert_array_equal(read_demonstrations(filmed_dataset).images, filmed.images)


# What is broken says so


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is null, expected a value"),
        (b"", r"is no readable picture"),
        (b"no picture", r"is no readable picture"),
        (encoded(np.zeros((5, 4, 3), np.uint8))[:-30], r"is no readable picture"),
        (
            encoded(np.zeros((4, 5, 3), np.uint8)),
            r"is RGB of 4 x 5 pixels, expected RGB of 5 x 4",
        ),
        (encoded(np.zeros((5, 4), np.uint8)), r"is L of 5 x 4 pixels, expected RGB"),
        (encoded(np.zeros((5, 4, 4), np.uint8)), r"is RGBA of 5 x 4 pixels, expected RGB"),
    ],
    ids=["null", "empty", "words", "cut", "turned", "grey", "transparent"],
)
def test_a_picture_that_is_not_as_declared_is_named(filmed_dataset, content, message):
    edit_column(filmed_dataset, FRONT, with_bytes(6, content))
    with pytest.raises(
        ValueError, match=rf"{DATA_FILE}: row group 0: row 6 \(episode 1\): {FRONT} {message}"
    ):
        read_demonstrations(filmed_dataset)


def test_a_flipped_bit_in_a_picture_is_found(filmed_dataset):
    content = bytearray((filmed_dataset / DATA_FILE).read_bytes())
    content[content.index(b"IDAT") + 20] ^= 1
    (filmed_dataset / DATA_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=r"row group 0 \(episodes 0 to 2\) is no readable part"):
        read_demonstrations(filmed_dataset)


def test_a_missing_row_is_named(filmed_dataset):
    def change(column):
        mask = pa.array([row == 2 for row in range(len(column))])
        arrays = [column.field("bytes"), column.field("path")]
        return pa.StructArray.from_arrays(arrays, ["bytes", "path"], mask=mask)

    edit_column(filmed_dataset, FRONT, change)
    with pytest.raises(
        ValueError, match=rf"row 2 \(episode 0\): {FRONT} is null, expected a value"
    ):
        read_demonstrations(filmed_dataset)


def test_words_where_pictures_belong(filmed_dataset):
    edit_column(filmed_dataset, FRONT, lambda column: pa.array(["a.png"] * len(column)))
    with pytest.raises(ValueError, match=f"{FRONT} is string, expected a struct of bytes and path"):
        read_demonstrations(filmed_dataset)


def test_a_missing_column(filmed_dataset):
    table = pq.read_table(filmed_dataset / DATA_FILE)
    pq.write_table(table.drop_columns([FRONT]), filmed_dataset / DATA_FILE)
    with pytest.raises(ValueError, match=f"{DATA_FILE}: has no column '{FRONT}', only: "):
        read_demonstrations(filmed_dataset)


@pytest.mark.parametrize("read", [read_demonstrations, read_image_shape])
@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ({"shape": [5, 4]}, rf"{FRONT} has shape \[5, 4\], expected \[height, width, channels\]"),
        ({"shape": [5, 4, 2]}, f"{FRONT} has 2 channels, expected 1 or 3"),
        ({"shape": [5, 4, 2], "names": None}, rf"{FRONT}: shape \(5, 4, 2\): expected a picture"),
        ({"shape": [6, 4, 3]}, r"\(C, H, W\) are .*expected one size; name the cameras to read"),
    ],
)
def test_features_of_no_known_shape(filmed_dataset, read, feature, message):
    edit_features(filmed_dataset, lambda f: f[FRONT].update(feature))
    with pytest.raises(ValueError, match=message):
        read(filmed_dataset)


@pytest.mark.parametrize("read", [read_demonstrations, read_image_shape])
def test_cameras_that_are_not_there(filmed_dataset, dataset, read):
    with pytest.raises(ValueError, match="no camera 'top' .*, only: wrist, front"):
        read(filmed_dataset, cameras=["wrist", "top"])
    with pytest.raises(ValueError, match="no camera 'top' .*, only: none"):
        read(dataset, cameras=["top"])
