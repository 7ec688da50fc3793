"""Writes datasets of LeRobot v2.1 and v2.0, which the package only reads."""

import json

import numpy as np
import pyarrow.parquet as pq

from dppo_rllib.datasets.episodes import each_episode
from dppo_rllib.datasets.lerobot_tables import data_table, frame_columns
from dppo_rllib.datasets.statistics import segment_statistics


def write_old(demonstrations, root, version="v2.1"):
    """One file an episode, two to a chunk, metadata as lines of JSON."""
    features, lines, statistics, frames = {}, [], [], 0
    for number, episode in enumerate(each_episode(demonstrations)):
        columns = frame_columns(episode, frames, number)
        frames += episode.num_frames
        file = root / f"data/chunk-{number // 2:03d}/episode_{number:06d}.parquet"
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(data_table(columns), file)
        features = {
            name: {"dtype": c.dtype.name, "shape": list(c.shape[1:]) or [1], "names": None}
            for name, c in columns.items()
            if c.ndim < 4
        }
        features |= {
            name: {"dtype": "image", "shape": [*c.shape[2:], c.shape[1]], "names": None}
            for name, c in columns.items()
            if c.ndim == 4
        }
        lines.append({"episode_index": number, "tasks": ["lift"], "length": episode.num_frames})
        own = {
            name: {
                key: v[0].tolist()
                for key, v in segment_statistics(columns[name], np.zeros(1, np.int64)).items()
            }
            for name in ("observation.state", "action")
        }
        statistics.append({"episode_index": number, "stats": own})
    info = {
        "codebase_version": version,
        "fps": 20,
        "chunks_size": 2,
        "total_episodes": len(lines),
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": None,
        "features": features,
    }
    (root / "meta").mkdir()
    (root / "meta/info.json").write_text(json.dumps(info))
    write_lines(root / "meta/episodes.jsonl", lines)
    tasks = [{"task_index": 0, "task": "lift"}, {"task_index": 1, "task": "drop"}]
    write_lines(root / "meta/tasks.jsonl", tasks)
    write_lines(root / "meta/episodes_stats.jsonl", statistics)
    return root


def write_lines(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
