"""Datasets: demonstrations in the LeRobot format, and training samples made of them."""

from dppo_rllib.datasets.chunks import ActionChunks, split_episodes
from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.hub import local_dataset
from dppo_rllib.datasets.image_shape import read_image_shape
from dppo_rllib.datasets.lerobot import (
    DatasetReader,
    read_demonstrations,
    read_statistics,
    write_demonstrations,
)
from dppo_rllib.datasets.minibatches import Minibatch, Samples, minibatches
from dppo_rllib.datasets.streamed import StreamedChunks

__all__ = [
    "ActionChunks",
    "DatasetReader",
    "Demonstrations",
    "Minibatch",
    "Samples",
    "StreamedChunks",
    "local_dataset",
    "minibatches",
    "read_demonstrations",
    "read_image_shape",
    "read_statistics",
    "split_episodes",
    "write_demonstrations",
]
