"""Write the LeRobot dataset format v3.0 with pyarrow; read it, and v2.1 and v2.0.

The layout: `meta/info.json` (what columns there are), `meta/stats.json`, `meta/tasks.parquet`,
`meta/episodes/chunk-*/file-*.parquet` (one row an episode: its frames, its file, its statistics),
`data/chunk-*/file-*.parquet` (one row a frame, whole episodes to a file). Of v2, one data file an
episode, and metadata as lines of JSON.

A feature of shape `[1]` is a scalar column, one of shape `[D]` a fixed-size list; so LeRobot
declares them. A camera's pictures are PNG files in a column `observation.images.<camera>`, or a
video; of several cameras the channels come one after the other, in the order of the features. (We
write PNG files.) Two columns are not among LeRobot's usual ones: `next.terminated` and
`next.truncated`, because `next.done` alone does not tell an end from a time limit.
"""

from dppo_rllib.datasets.lerobot_reader import DatasetReader, read_demonstrations
from dppo_rllib.datasets.lerobot_statistics import read_statistics
from dppo_rllib.datasets.lerobot_writer import write_demonstrations

__all__ = ["DatasetReader", "read_demonstrations", "read_statistics", "write_demonstrations"]
