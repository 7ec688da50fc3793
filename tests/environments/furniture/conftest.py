import importlib.util

import pytest


@pytest.fixture(autouse=True, scope="session")
def meshes():
    if importlib.util.find_spec("furniture_bench") is None:
        pytest.skip("furniture-bench is not installed")
