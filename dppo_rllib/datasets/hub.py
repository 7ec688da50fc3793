"""Datasets of the Hugging Face Hub: `hf://user/name`, or `hf://user/name@revision`."""

from __future__ import annotations

import re
from os import PathLike, fspath
from pathlib import Path

from dppo_rllib.datasets.lerobot_reader import DatasetReader

PREFIX = "hf://"
_ADDRESS = re.compile(r"hf://(?:datasets/)?([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?/?")
_INSTALL = 'pip install "dppo_rllib[hub]"'
_METADATA = ["meta/**"]
# What a dataset is, and no more: an upload of a directory takes everything in it.
_DATASET = [*_METADATA, "data/**", "videos/**"]
_UPLOADED = [*_DATASET, "README.md"]


def is_on_hub(address: str | PathLike[str]) -> bool:
    """Whether this is the address of a dataset on the Hub."""
    return fspath(address).startswith(PREFIX)


def local_dataset(address: str | PathLike[str], *, metadata_only: bool = False) -> Path:
    """The directory of a dataset; one of the Hub is downloaded to its cache, unless it is there.

    Without a network (or with `HF_HUB_OFFLINE=1`), what is in the cache is taken.

    Args:
        address: A directory, or `hf://user/name`, with `@` and a branch, tag or commit.
        metadata_only: Only `meta/`, which tells shapes, lengths and statistics.

    Raises:
        FileNotFoundError: There is no such dataset, or it is neither in reach nor in the cache.
        ImportError: huggingface_hub is missing.
        ValueError: The address is none.
    """
    if not is_on_hub(address):
        return Path(address)
    name, revision = _parts(fspath(address))
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise ImportError(f"huggingface_hub cannot be imported ({error}); {_INSTALL}") from error
    patterns = _METADATA if metadata_only else _UPLOADED
    try:
        folder = snapshot_download(
            name, repo_type="dataset", revision=revision, allow_patterns=patterns
        )
    except (HfHubHTTPError, FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(f"{address}: cannot be had from the Hub: {error}") from error
    return Path(folder)


def pinned(address: str) -> str:
    """The address with the commit that it means now, so that all who read it read the same.

    Raises:
        FileNotFoundError: As `local_dataset`.
        ImportError: huggingface_hub is missing.
        ValueError: The address is none.
    """
    name, _ = _parts(address)
    # A cached snapshot lies in a directory named after its commit.
    return f"{PREFIX}{name}@{local_dataset(address, metadata_only=True).name}"


def push_dataset(path: str | PathLike[str], name: str, *, private: bool = False) -> str:
    """Puts a dataset onto the Hub, and tags it with its version, as LeRobot expects.

    Of a dataset that is there already nothing is left but its card.

    Uses the token of `hf auth login`, or of the environment variable `HF_TOKEN`.

    Args:
        path: Its directory.
        name: `user/name` on the Hub; it is created where there is none.
        private: Whether a new one is.

    Returns:
        Its address.

    Raises:
        FileNotFoundError: There is no dataset, or a file of it is missing.
        ImportError: huggingface_hub is missing.
        PermissionError: The Hub refuses.
        ValueError: It is no dataset, or the name is none.
    """
    root = Path(path)
    address = f"{PREFIX}{name}"
    if _parts(address) != (name, None):
        raise ValueError(f"{name}: expected user/name")
    reader = DatasetReader(root)
    for file in reader.named_files():
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing, expected by the dataset's metadata")
    try:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise ImportError(f"huggingface_hub cannot be imported ({error}); {_INSTALL}") from error
    api = HfApi()
    try:
        api.create_repo(name, repo_type="dataset", private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=root,
            repo_type="dataset",
            allow_patterns=_UPLOADED,
            delete_patterns=_DATASET,
            commit_message="Dataset of dppo_rllib",
        )
        if not (root / "README.md").exists():
            api.upload_file(
                path_or_fileobj=_card(reader).encode(),
                path_in_repo="README.md",
                repo_id=name,
                repo_type="dataset",
                commit_message="Dataset card",
            )
        version = reader.info["codebase_version"]
        # A tag stays where it is; that of an earlier upload makes way.
        if version in {tag.name for tag in api.list_repo_refs(name, repo_type="dataset").tags}:
            api.delete_tag(name, tag=version, repo_type="dataset")
        api.create_tag(name, tag=version, repo_type="dataset")
    except HfHubHTTPError as error:
        raise PermissionError(f"{address}: the Hub refuses: {error}") from error
    return address


def _parts(address: str) -> tuple[str, str | None]:
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(f"{address}: expected hf://user/name, or hf://user/name@revision")
    return found[1], found[2]


def _card(reader: DatasetReader) -> str:
    """What the Hub shows of it, and what tells LeRobot's tools that it is one of theirs."""
    return (
        "---\ntask_categories:\n- robotics\ntags:\n- LeRobot\n"
        "configs:\n- config_name: default\n  data_files: data/*/*.parquet\n---\n\n"
        f"{reader.num_episodes:,} episodes, {reader.num_frames:,} steps at {reader.fps:g} a "
        f"second: {reader.task or 'no task told'}. In the LeRobot format, written by dppo_rllib.\n"
    )
