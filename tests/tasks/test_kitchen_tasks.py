"""The presets of Franka Kitchen, against what the authors' YAML files say."""

import pytest
from official_presets import (
    assert_iterations_agree,
    assert_networks_agree,
    assert_settings_agree,
    official_configs,
    preset,
)

from dppo_rllib.tasks import get_task

OFFICIAL = official_configs("kitchen")


@pytest.mark.parametrize("variant", OFFICIAL)
def test_a_preset_has_the_authors_settings(variant):
    stage, name, kind = variant.split("/")
    task, official = get_task(name), OFFICIAL[variant]
    config = preset(task, stage, kind)
    assert_settings_agree(official, task, config)
    assert_networks_agree(official, config)
    if stage == "finetune":
        assert_iterations_agree(official, task)


def test_the_subtasks_are_those_of_d4rl():
    partial, complete, mixed = (
        set(get_task(f"kitchen-{name}").env_config["subtasks"])
        for name in ("partial", "complete", "mixed")
    )
    assert partial == complete == {"microwave", "kettle", "light switch", "slide cabinet"}
    assert mixed == {"microwave", "kettle", "light switch", "bottom burner"}
