"""Names and paths of the LeRobot dataset formats v3.0 (read and written), v2.1 and v2.0 (read)."""

CODEBASE_VERSION = "v3.0"
# One file an episode, and metadata as lines of JSON.
FILE_AN_EPISODE = ("v2.0", "v2.1")

OBSERVATION = "observation.state"
ACTION = "action"
REWARD = "next.reward"
SUCCESS = "next.success"
DONE = "next.done"
TERMINATED = "next.terminated"
TRUNCATED = "next.truncated"
# Then the name of a camera.
IMAGES_PREFIX = "observation.images."
IMAGE = "image"
VIDEO = "video"
IMAGE_NAMES = ("height", "width", "channels")

INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
EPISODES_DIR = "meta/episodes"
EPISODES_PATH = EPISODES_DIR + "/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
TASKS_PATH = "meta/tasks.parquet"

OLD_DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
OLD_VIDEO_PATH = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
OLD_EPISODES_PATH = "meta/episodes.jsonl"
OLD_EPISODES_STATS_PATH = "meta/episodes_stats.jsonl"
OLD_TASKS_PATH = "meta/tasks.jsonl"
