"""Measured comparisons, each a module that prints a table, and what they share."""
