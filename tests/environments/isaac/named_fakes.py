"""Names of the fakes, as environments are named."""

from pathlib import Path

HERE = Path(__file__).parent


def fake(name):
    """Of `"Class"` in fake_furniture.py, or of `"file.py:Class"`."""
    return str(HERE / (name if ":" in name else f"fake_furniture.py:{name}"))
