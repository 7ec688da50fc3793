"""A sweep: what is tried on a task, who chooses what comes next, and when a trial ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from dppo_rllib.tasks.load import load_file

RETURN = "env_runners/episode_return_mean"
SUCCESS = "env_runners/success_rate"


@dataclass(frozen=True)
class Sweep:
    """What `dppo tune` runs; a file of `tune_configs/` holds one under the name `SWEEP`.

    ```python
    SWEEP = Sweep(
        "Clip range",
        {"task": "hopper-medium", "clip_param": tune.grid_search([0.01, 0.02, 0.05])},
        iterations=50,
    )
    ```

    Attributes:
        title: A few words.
        param_space: What a trial is made of: `task`, and what differs from how `dppo finetune`
            would run it. That is `algorithm`, `base_policy` (as `--from`) and any setting of the
            algorithm; dots reach into dictionaries ("network.mlp_dims"). Values may be Tune's
            search spaces.
        iterations: Training iterations after which a trial is done.
        num_samples: How often random values are drawn, or how many trials a searcher suggests.
            Each draw is combined with the whole grid.
        scheduler: Stops bad trials early, or breeds good ones; None lets all run to their end.
        search_alg: Chooses values from what earlier trials have given; None draws at random.
        metric: What makes a trial good.
        mode: "max" or "min".
        stop: Further reasons to end a trial: a result that reaches the value.
    """

    title: str
    param_space: Mapping[str, Any]
    iterations: int
    num_samples: int = 1
    scheduler: TrialScheduler | None = None
    search_alg: Searcher | None = None
    metric: str = RETURN
    mode: str = "max"
    stop: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if "task" not in self.param_space:
            raise ValueError("param_space: has no 'task'; expected the name of one")
        for name in ("iterations", "num_samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: expected at least 1")
        if self.mode not in ("max", "min"):
            raise ValueError(f"mode={self.mode!r}: expected 'max' or 'min'")


def load_sweep(path: str | os.PathLike[str]) -> Sweep:
    """The `SWEEP` of a Python file, which may also register tasks of its own.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a Python file, or has no sweep.
    """
    sweep = getattr(load_file(path, "a Python file with a SWEEP"), "SWEEP", None)
    if not isinstance(sweep, Sweep):
        raise ValueError(f"{path}: SWEEP={sweep!r}, expected a dppo_rllib.sweeps.Sweep")
    return sweep
