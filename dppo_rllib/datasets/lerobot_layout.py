"""Names and paths of the LeRobot dataset format v3.0."""

CODEBASE_VERSION = "v3.0"
OBSERVATION = "observation.state"
ACTION = "action"
REWARD = "next.reward"
DONE = "next.done"
TERMINATED = "next.terminated"
TRUNCATED = "next.truncated"
# Then the name of a camera.
IMAGES_PREFIX = "observation.images."
IMAGE = "image"
IMAGE_NAMES = ("height", "width", "channels")

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_DIR = "meta/episodes"
EPISODES_PATH = EPISODES_DIR + "/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
