"""Checkpoints of Tune that are taken for whole only when they are."""

from __future__ import annotations

import posixpath
from typing import Any

import pyarrow.fs
from ray import tune

from dppo_rllib.checkpoints import PolicyCheckpoint, StoragePath
from dppo_rllib.checkpoints.find import whole_checkpoints
from dppo_rllib.checkpoints.policy_checkpoint import POLICY, send_policy


class WholeCheckpoints(tune.Trainable):
    """Saves and restores by what is there, rather than by what Tune has written down.

    Tune copies a checkpoint file by file. The policy is left out of that and is written when all
    else has arrived: a checkpoint that has one is whole, on a disk and in an object store.
    """

    def get_policy_checkpoint(self) -> PolicyCheckpoint:
        """The present policy; `save_checkpoint` leaves it out."""
        raise NotImplementedError

    def save(self, checkpoint_dir: str | None = None) -> Any:
        """Tune's checkpoint, and then the policy."""
        result = super().save(checkpoint_dir)
        saved = storage_path(result.checkpoint.filesystem, result.checkpoint.path)
        send_policy(self.get_policy_checkpoint(), saved / POLICY)
        return result

    def restore(self, checkpoint_path: Any) -> None:
        """Tune's restore; of its own trial the newest whole checkpoint, whichever Tune names.

        Tune writes down seconds later than these what checkpoints there are. Once its machine has
        died the one that it names may not be the newest, or be deleted.
        """
        checkpoint = getattr(checkpoint_path, "checkpoint", None)
        if self._storage and checkpoint:
            trial = storage_path(checkpoint.filesystem, self._storage.trial_fs_path)
            whole = whole_checkpoints(trial)
            if whole and posixpath.dirname(checkpoint.path) == trial.path:
                checkpoint_path.checkpoint = tune.Checkpoint(whole[-1].path, checkpoint.filesystem)
                self._storage.current_checkpoint_index = int(whole[-1].name.rpartition("_")[2])
        super().restore(checkpoint_path)


def storage_path(filesystem: pyarrow.fs.FileSystem | None, path: Any) -> StoragePath:
    """A path on a given file system; without one, a path on this machine or a URI."""
    return StoragePath(filesystem, str(path), str(path)) if filesystem else StoragePath.of(path)
