"""What every learner of this package needs around RLlib's learner state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def set_learner_state(
    learner: Any, set_state: Callable[[dict[str, Any]], None], state: dict[str, Any]
) -> None:
    """RLlib's `Learner.set_state`, but older weights replace newer ones too."""
    present: int = learner._weights_seq_no
    learner._weights_seq_no = -1  # RLlib keeps newer weights without a word otherwise
    set_state(state)
    if learner._weights_seq_no < 0:
        learner._weights_seq_no = present
