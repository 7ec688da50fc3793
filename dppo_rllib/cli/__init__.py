"""Layer 8: the command `dppo`, one file a command."""

from dppo_rllib.cli.app import app

__all__ = ["app"]
