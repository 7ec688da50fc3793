"""Layer 5: policies on disk, ours and those of the DPPO authors."""

from dppo_rllib.checkpoints.evaluation import evaluate_policy, make_env
from dppo_rllib.checkpoints.find import find_policy
from dppo_rllib.checkpoints.official import import_official
from dppo_rllib.checkpoints.policy_checkpoint import PolicyCheckpoint, load_policy, save_policy
from dppo_rllib.checkpoints.storage import StoragePath

__all__ = [
    "PolicyCheckpoint",
    "StoragePath",
    "evaluate_policy",
    "find_policy",
    "import_official",
    "load_policy",
    "make_env",
    "save_policy",
]
