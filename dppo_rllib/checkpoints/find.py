"""Finding a policy, and whole checkpoints, in what a run leaves behind."""

from __future__ import annotations

import os

from dppo_rllib.checkpoints.policy_checkpoint import DESCRIPTION, POLICY
from dppo_rllib.checkpoints.storage import StoragePath

_CHECKPOINT = "checkpoint_"  # Tune's name; numbers of equal length follow
_DEPTH = 2  # of trials below a directory: of an experiment, or of several


def find_policy(path: str | os.PathLike[str]) -> StoragePath:
    """The directory of the policy at `path`.

    Args:
        path: A policy, the checkpoint of an algorithm, or the directory of a run, of which the
            final policy is taken, or that of the newest whole checkpoint. A path or a URI.

    Raises:
        FileNotFoundError: There is no policy.
        ValueError: It is a URI that cannot be read.
    """
    root = StoragePath.of(path)
    try:
        for final in (root, root / POLICY):
            if (final / DESCRIPTION).is_file():
                return final
        if not root.exists():
            raise FileNotFoundError(
                f"{path}: no such directory; expected a policy, checkpoint or run"
            )
        found, folders = whole_checkpoints(root), [root]
        for _ in range(_DEPTH):
            folders = [below for folder in folders for below in folder.folders()]
            found += [whole for folder in folders for whole in whole_checkpoints(folder)]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error
    if not found:
        raise FileNotFoundError(
            f"{path}: no policy in it; expected a directory with {DESCRIPTION}, a checkpoint of an "
            "algorithm, or a run with checkpoints"
        )
    return max(found, key=lambda checkpoint: checkpoint.name) / POLICY


def whole_checkpoints(trial: StoragePath) -> list[StoragePath]:
    """Checkpoints in the directory of a trial, oldest first.

    The policy is what is written last: one that has none is being written, or was when its machine
    died.
    """
    return [
        folder
        for folder in trial.folders()
        if folder.name.startswith(_CHECKPOINT) and (folder / POLICY / DESCRIPTION).is_file()
    ]
