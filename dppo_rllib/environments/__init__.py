"""Layer 2: environments."""

import dppo_rllib.environments.avoid
import dppo_rllib.environments.furniture
import dppo_rllib.environments.furniture.isaac
import dppo_rllib.environments.kitchen
import dppo_rllib.environments.robomimic  # noqa: F401  registers them
from dppo_rllib.environments.chunked import ChunkedVectorEnv, make_chunked_env
from dppo_rllib.environments.normalization import Normalization
from dppo_rllib.environments.pixel_reach import PixelReach, reach_expert

__all__ = [
    "ChunkedVectorEnv",
    "Normalization",
    "PixelReach",
    "make_chunked_env",
    "reach_expert",
]
