"""Layer 2: environments."""

from dppo_rllib.environments.chunked import ChunkedVectorEnv, make_chunked_env
from dppo_rllib.environments.normalization import Normalization

__all__ = ["ChunkedVectorEnv", "Normalization", "make_chunked_env"]
