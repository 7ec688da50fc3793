"""Ray's callback for Weights & Biases, so that it can be resumed."""

from __future__ import annotations

import os
from typing import Any

from ray.air.integrations.wandb import WandbLoggerCallback

from dppo_rllib.cli.loggers import PROJECT


class WandbCallback(WandbLoggerCallback):
    """Goes on in the run of a trial that is resumed; set up by W&B's variables at each start."""

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Reads the variables: Ray's logging process does not see those of this one."""
        self.project = os.environ.get("WANDB_PROJECT", PROJECT)
        # A trial's id is its run's; Ray's own setting would begin the run anew.
        self.kwargs = {"resume": "allow", "mode": os.environ.get("WANDB_MODE", "online")}
        for name in ("entity", "dir"):
            if value := os.environ.get(f"WANDB_{name.upper()}"):
                self.kwargs[name] = value
        super().setup(*args, **kwargs)
