"""What every learner of this package needs around RLlib's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dppo_rllib.algorithms import collectives


def cpu_threads(config: Any) -> int | None:
    """Threads of a learner's computation; None leaves them to torch (a local learner)."""
    if config.learner_threads is not None or config.num_learners == 0:
        return config.learner_threads
    reserved = config.num_cpus_per_learner
    return 1 if reserved == "auto" else max(1, int(reserved))


def agreed_seed(config: Any) -> int:
    """The configured seed, or a random one that is the same on all learners."""
    seed = config.seed if config.seed is not None else int(torch.seed() % 2**31)
    return collectives.gather(seed)[0]


def same_weights(learner: Any) -> None:
    """Gives all learners the weights of the first; without a seed each has built its own."""
    for module in learner.module.values():
        collectives.broadcast([p.data for p in module.parameters()])


def sum_gradients(parameters: Sequence[nn.Parameter], statistics: Tensor) -> None:
    """Replaces gradients and statistics by their sums over the learners, in one message."""
    if collectives.world_size() == 1:
        return
    for p in parameters:
        # A learner may own no row of a small minibatch.
        p.grad = torch.zeros_like(p) if p.grad is None else p.grad
    gradients = [p.grad for p in parameters if p.grad is not None]
    collectives.all_reduce_sum([*gradients, statistics])


def set_learner_state(
    learner: Any, set_state: Callable[[dict[str, Any]], None], state: dict[str, Any]
) -> None:
    """RLlib's `Learner.set_state`, but older weights replace newer ones too."""
    present: int = learner._weights_seq_no
    learner._weights_seq_no = -1  # RLlib keeps newer weights without a word otherwise
    set_state(state)
    if learner._weights_seq_no < 0:
        learner._weights_seq_no = present
    for optimizer in learner._optimizer_parameters:
        for values in optimizer.state.values():
            # RLlib moves all to the device, where reading the count would wait for it every step.
            values["step"] = values["step"].cpu()
