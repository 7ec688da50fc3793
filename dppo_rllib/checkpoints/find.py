"""Finding a policy in what a run leaves behind."""

from __future__ import annotations

import os
from pathlib import Path

from dppo_rllib.checkpoints.policy_checkpoint import WEIGHTS

# A run's final policy, and Tune's checkpoints of it, in the directory of a trial, of an experiment
# or of several.
_PATTERNS = (
    "policy/policy.json",
    "checkpoint_*/policy/policy.json",
    "*/checkpoint_*/policy/policy.json",
    "*/*/checkpoint_*/policy/policy.json",
)


def find_policy(path: str | os.PathLike[str]) -> Path:
    """The directory of the policy at `path`.

    Args:
        path: A policy, the checkpoint of an algorithm, or the directory of a run, of which the
            final policy is taken, or that of the newest whole checkpoint.

    Raises:
        FileNotFoundError: There is no policy.
    """
    root = Path(path).expanduser().absolute()
    if not root.exists():
        raise FileNotFoundError(f"{path}: no such directory; expected a policy, checkpoint or run")
    if (root / "policy.json").is_file():
        return root
    found = [file for pattern in _PATTERNS for file in root.glob(pattern)]
    if not found:
        raise FileNotFoundError(
            f"{path}: no policy in it; expected a directory with policy.json, a checkpoint of an "
            "algorithm, or a run with checkpoints"
        )
    final = [file.parent for file in found if file.parents[1] == root]
    # A kill may leave a checkpoint without its weights, which are copied file by file.
    whole = [file.parent for file in found if (file.parent / WEIGHTS).is_file()]
    # Names of checkpoints have numbers of equal length.
    return (final or sorted(whole or [found[0].parent], key=lambda p: p.parent.name)[-1:])[-1]
