"""The tasks of Furniture-Bench and their simulators."""
