"""Conversion of other dataset formats to Demonstrations."""

from dppo_rllib.datasets.convert.official import read_official_npz

__all__ = ["read_official_npz"]
