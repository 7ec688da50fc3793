import importlib.util

import pytest

# robosuite is asked for no more than it must be: importing it is loud.
collect_ignore_glob = [] if importlib.util.find_spec("robosuite") else ["test_*"]


@pytest.fixture(scope="session", params=["lift", "can", "square", "transport"])
def task(request):
    from dppo_rllib.environments.robomimic.manipulation import MANIPULATIONS

    return MANIPULATIONS[request.param]


@pytest.fixture(scope="session")
def scenes():
    """Scenes, made once; each holds robosuite's own environment."""
    from dppo_rllib.environments.robomimic.scene import Scene

    made = {}

    def of(task):
        if task.name not in made:
            made[task.name] = Scene(task.robosuite_name, task.robots)
        return made[task.name]

    return of
