"""`python -m dppo_rllib`: the command `dppo` where the package is on the path but not installed."""

from dppo_rllib.cli import app

app(prog_name="dppo")
