"""What can be done in the kitchen: which joints it moves, and where to.

The numbers are those of D4RL (arXiv 2004.07219) and of gymnasium-robotics.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Bool, Float

NUM_POSITIONS = 30  # of all joints: the arm's and then those of what it moves
NUM_ARM = 9
#: Subtasks of the tasks "partial" and "complete".
DEFAULT_SUBTASKS = ("microwave", "kettle", "light switch", "slide cabinet")
_NEAR_ENOUGH = 0.3
#: Of each subtask the first of its joint positions and what they shall be.
GOALS = MappingProxyType(
    {
        "bottom burner": (11, (-0.88, -0.01)),
        "top burner": (15, (-0.92, -0.01)),
        "light switch": (17, (-0.69, -0.05)),
        "slide cabinet": (19, (0.37,)),
        "hinge cabinet": (20, (0.0, 1.45)),
        "microwave": (22, (-0.75,)),
        "kettle": (23, (-0.23, 0.75, 1.62, 0.99, 0.0, 0.0, -0.06)),
    }
)


class Subtasks:
    """Some of them, at least one.

    Args:
        names: Which, in any order.

    Attributes:
        names: The same.
        goal: The positions that they ask for, 0 where they ask for none, `[30]`.

    Raises:
        ValueError: There is no such subtask, or one is named twice.
    """

    def __init__(self, names: Sequence[str]):
        if isinstance(names, str) or not names or len(set(names)) < len(names):
            raise ValueError(f"subtasks={names!r}: expected different ones of {sorted(GOALS)}")
        if unknown := sorted(set(names) - set(GOALS)):
            raise ValueError(f"subtasks={unknown}: expected some of {sorted(GOALS)}")
        self.names = tuple(names)
        self.goal: Float[np.ndarray, "30"] = np.zeros(NUM_POSITIONS)
        self._parts = []
        for name in names:
            first, values = GOALS[name]
            part = slice(first, first + len(values))
            self.goal[part] = values
            self._parts.append(part)

    def __len__(self) -> int:
        return len(self.names)

    def done(self, positions: Float[np.ndarray, "n 30"]) -> Bool[np.ndarray, "n subtasks"]:
        """Which are done where joints are so: within 0.3 of what was asked for."""
        away = positions - self.goal
        distances = [np.linalg.norm(away[:, part], axis=-1) for part in self._parts]
        return np.stack(distances, axis=-1) < _NEAR_ENOUGH
