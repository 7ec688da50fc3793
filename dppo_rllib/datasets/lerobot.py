"""Write and read the LeRobot dataset format v3.0 with pyarrow.

The layout: `meta/info.json` (what columns there are), `meta/stats.json`, `meta/tasks.parquet`,
`meta/episodes/chunk-*/file-*.parquet` (one row an episode: its frames, its file, its statistics),
`data/chunk-*/file-*.parquet` (one row a frame, whole episodes to a file).

A feature of shape `[1]` is a scalar column, one of shape `[D]` a fixed-size list; so LeRobot
declares them. A camera's pictures are PNG files in a column `observation.images.<camera>`; of
several cameras the channels come one after the other, in the order of the features. (Videos are
not read.) Two columns are not among LeRobot's usual ones: `next.terminated` and `next.truncated`,
because `next.done` alone does not tell an end from a time limit.
"""

from dppo_rllib.datasets.lerobot_reader import read_demonstrations, read_statistics
from dppo_rllib.datasets.lerobot_writer import write_demonstrations

__all__ = ["read_demonstrations", "read_statistics", "write_demonstrations"]
