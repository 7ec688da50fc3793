"""Layer 6: benchmark tasks by name.

A task of one's own is one file with `register(Task(…))`, given to `dppo --tasks-from`.
"""

import dppo_rllib.tasks.avoid
import dppo_rllib.tasks.furniture
import dppo_rllib.tasks.kitchen
import dppo_rllib.tasks.robomimic  # noqa: F401  registers them
from dppo_rllib.tasks.locomotion import HOPPER_MEDIUM
from dppo_rllib.tasks.task import (
    Requirement,
    Task,
    Variant,
    get_task,
    missing_requirements,
    register,
    task_names,
)

__all__ = [
    "HOPPER_MEDIUM",
    "Requirement",
    "Task",
    "Variant",
    "get_task",
    "missing_requirements",
    "register",
    "task_names",
]
