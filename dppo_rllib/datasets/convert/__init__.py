"""Conversion of other dataset formats to Demonstrations."""

from dppo_rllib.datasets.convert.official import read_official_npz
from dppo_rllib.datasets.convert.robomimic import read_robomimic_hdf5, render_robomimic_hdf5

__all__ = ["read_official_npz", "read_robomimic_hdf5", "render_robomimic_hdf5"]
