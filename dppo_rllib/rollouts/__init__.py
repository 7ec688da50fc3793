"""Layer 4: stepping environments with a policy."""

from dppo_rllib.rollouts.evaluation import Episode, EpisodeResults, run_episodes, success_interval
from dppo_rllib.rollouts.trajectories import Trajectories, concatenate

__all__ = [
    "Episode",
    "EpisodeResults",
    "Trajectories",
    "concatenate",
    "run_episodes",
    "success_interval",
]
