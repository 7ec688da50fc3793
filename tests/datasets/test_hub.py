"""Datasets of the Hub, against its HTTP interface and its client's cache on this machine."""

import json
import sys

import pytest

constants = pytest.importorskip(
    "huggingface_hub.constants", reason="huggingface_hub is not installed"
)
from fake_hub import running_hub  # noqa: E402

from dppo_rllib.datasets import local_dataset, read_demonstrations, write_demonstrations  # noqa: E402
from dppo_rllib.datasets.hub import is_on_hub, pinned, push_dataset  # noqa: E402

NAME = "someone/lift"
ADDRESS = f"hf://{NAME}"


@pytest.fixture
def server(monkeypatch, tmp_path):
    with running_hub(monkeypatch, tmp_path / "cache") as server:
        yield server


@pytest.fixture
def other(tmp_path, make_demonstrations):
    return write_demonstrations(make_demonstrations(lengths=(3,)), tmp_path / "other")


def test_a_directory_is_itself(tmp_path):
    assert local_dataset(tmp_path) == tmp_path and not is_on_hub(tmp_path)


def test_a_dataset_is_downloaded_once(server, filmed_dataset, filmed):
    server.add_directory(NAME, filmed_dataset)
    first = read_demonstrations(local_dataset(ADDRESS))
    assert (first.images == filmed.images).all()
    files = [request for request in server.requests if "/resolve/" in request]
    assert files
    server.requests.clear()
    assert local_dataset(ADDRESS).is_dir()
    assert not [request for request in server.requests if "/resolve/" in request]


def test_metadata_come_without_the_frames(server, dataset):
    server.add_directory(NAME, dataset)
    root = local_dataset(ADDRESS, metadata_only=True)
    assert (root / "meta/info.json").exists() and not (root / "data").exists()
    assert read_demonstrations(local_dataset(ADDRESS)).num_episodes == 3


def test_a_pinned_dataset_stays_what_it_was(server, dataset, other):
    first = server.add_directory(NAME, dataset)
    address = pinned(ADDRESS)
    assert address == f"{ADDRESS}@{first}"
    second = server.add_directory(NAME, other)
    assert read_demonstrations(local_dataset(address)).num_episodes == 3
    assert read_demonstrations(local_dataset(ADDRESS)).num_episodes == 1
    assert pinned(ADDRESS) == f"{ADDRESS}@{second}"
    assert pinned(address) == address


def test_tags_are_revisions(server, dataset, other):
    server.tags[NAME] = {"v1": server.add_directory(NAME, dataset)}
    server.add_directory(NAME, other)
    assert read_demonstrations(local_dataset(f"{ADDRESS}@v1")).num_episodes == 3


def test_what_is_in_the_cache_needs_no_network(server, dataset, monkeypatch):
    server.add_directory(NAME, dataset)
    local_dataset(ADDRESS)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert read_demonstrations(local_dataset(ADDRESS)).num_episodes == 3
    with pytest.raises(FileNotFoundError, match="hf://someone/else: cannot be had from the Hub"):
        local_dataset("hf://someone/else")


@pytest.mark.parametrize("address", ["hf://someone/none", "hf://someone/lift@none"])
def test_what_is_not_there_is_named(server, dataset, address):
    server.add_directory(NAME, dataset)
    with pytest.raises(FileNotFoundError, match=f"{address}: cannot be had from the Hub"):
        local_dataset(address)


@pytest.mark.parametrize("address", ["hf://lift", "hf://a/b/c", "hf://", "hf://a b/c"])
def test_addresses_are_checked(address):
    with pytest.raises(ValueError, match="expected hf://user/name"):
        local_dataset(address)


def test_a_dataset_is_pushed_and_read_back(server, filmed_dataset, filmed):
    (filmed_dataset / "secret.txt").write_text("not a part of it")
    assert push_dataset(filmed_dataset, NAME, private=True) == ADDRESS
    _, files = server.commits[NAME][-1]
    assert "secret.txt" not in files
    assert "- LeRobot" in files["README.md"].decode()
    # LeRobot looks for a tag with the version of the format.
    assert server.tags[NAME] == {"v3.0": server.commits[NAME][-1][0]}
    read = read_demonstrations(local_dataset(ADDRESS))
    assert (read.images == filmed.images).all()


def test_of_what_was_pushed_before_only_the_card_stays(
    server, tmp_path, make_demonstrations, other
):
    large = make_demonstrations(lengths=(3000,) * 8, observation_dim=20)
    large = write_demonstrations(large, tmp_path / "large", data_files_size_in_mb=1)
    (large / "README.md").write_text("Mine.")
    push_dataset(large, NAME)
    push_dataset(other, NAME)
    _, files = server.commits[NAME][-1]
    here = {p.relative_to(other).as_posix() for p in other.rglob("*.*")}
    assert set(files) == {*here, "README.md", ".gitattributes"}
    assert read_demonstrations(local_dataset(ADDRESS)).num_episodes == 1


def test_pushing_again_moves_the_tag(server, dataset, other):
    push_dataset(dataset, NAME)
    (other / "README.md").write_text("---\nlicense: mit\n---\nMine.")
    push_dataset(other, NAME)
    sha, files = server.commits[NAME][-1]
    assert server.tags[NAME] == {"v3.0": sha}
    assert files["README.md"].endswith(b"Mine.")
    assert json.loads(files["meta/info.json"])["total_episodes"] == 1


def test_what_is_no_whole_dataset_is_not_pushed(server, dataset, tmp_path):
    with pytest.raises(ValueError, match="lift: expected hf://user/name"):
        push_dataset(dataset, "lift")
    with pytest.raises(FileNotFoundError, match="is no directory"):
        push_dataset(tmp_path / "none", NAME)
    (dataset / "data/chunk-000/file-000.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"file-000\.parquet is missing"):
        push_dataset(dataset, NAME)
    assert server.requests == []


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_told(server, dataset, status):
    server.refused = status
    with pytest.raises(PermissionError, match=f"{ADDRESS}: the Hub refuses: .*{status}"):
        push_dataset(dataset, NAME)


def test_without_the_client_an_error_tells_how_to_install_it(dataset, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for use in (lambda: local_dataset(ADDRESS), lambda: push_dataset(dataset, NAME)):
        with pytest.raises(ImportError, match=r'pip install "dppo_rllib\[hub\]"'):
            use()
