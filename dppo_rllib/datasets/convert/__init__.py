"""Conversion of other formats: each yields Demonstrations, episode by episode."""

from dppo_rllib.datasets.convert.d4rl import d4rl_episodes
from dppo_rllib.datasets.convert.lerobot import lerobot_episodes
from dppo_rllib.datasets.convert.minari import minari_episodes
from dppo_rllib.datasets.convert.official import official_episodes
from dppo_rllib.datasets.convert.rllib import rllib_episodes
from dppo_rllib.datasets.convert.robomimic import drawn_robomimic_episodes, robomimic_episodes
from dppo_rllib.datasets.convert.source import read_episodes

__all__ = [
    "d4rl_episodes",
    "drawn_robomimic_episodes",
    "lerobot_episodes",
    "minari_episodes",
    "official_episodes",
    "read_episodes",
    "rllib_episodes",
    "robomimic_episodes",
]
