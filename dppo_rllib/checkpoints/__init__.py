"""Layer 5: policies on disk, ours and those of the DPPO authors."""

from dppo_rllib.checkpoints.policy_checkpoint import PolicyCheckpoint, load_policy, save_policy

__all__ = ["PolicyCheckpoint", "load_policy", "save_policy"]
