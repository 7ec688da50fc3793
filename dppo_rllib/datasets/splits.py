"""Parts of a dataset by name, as LeRobot's `info.json` tells them: `{"train": "0:80", …}`."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from jaxtyping import Int64

_RANGE = re.compile(r"(\d+):(\d+)")


def episodes_of_split(
    info: dict[str, Any], split: str | None, num_episodes: int, where: str
) -> Int64[np.ndarray, " n"]:
    """The episodes of a split, ascending.

    Args:
        info: Of the dataset's `info.json`.
        split: A name of its `splits`, or a range of episodes `"first:end"`; None takes all.
        num_episodes: E.
        where: The dataset, for messages.

    Raises:
        ValueError: There is no such split, or it has no episodes, or some that are not there.
    """
    if split is None:
        return np.arange(num_episodes)
    splits = info.get("splits")
    splits = splits if isinstance(splits, dict) else {}
    text = str(splits.get(split, split))
    found = _RANGE.fullmatch(text)
    if found is None:
        known = ", ".join(map(str, splits)) or "none"
        raise ValueError(
            f"{where}: split {split!r} is {text!r}, expected a range of episodes such as '0:80', "
            f"or the name of one: {known}"
        )
    first, end = map(int, found.groups())
    if not first < end <= num_episodes:
        raise ValueError(
            f"{where}: split {split!r} is {text!r}, expected first < end <= {num_episodes}, the "
            "number of episodes"
        )
    return np.arange(first, end)
