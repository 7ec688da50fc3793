"""The presets of Avoid, against what the authors' YAML files say."""

import pytest
from official_presets import (
    assert_iterations_agree,
    assert_networks_agree,
    assert_settings_agree,
    official_configs,
    preset,
)

from dppo_rllib.tasks import get_task

OFFICIAL = official_configs("avoid")


@pytest.mark.parametrize("variant", OFFICIAL)
def test_a_preset_has_the_authors_settings(variant):
    stage, name, kind = variant.split("/")
    task, official = get_task(name), OFFICIAL[variant]
    config = preset(task, stage, kind)
    assert_settings_agree(official, task, config)
    assert_networks_agree(official, config)
    if stage == "finetune":
        assert_iterations_agree(official, task)


@pytest.mark.parametrize("name, other", [("avoid-m1", 6), ("avoid-m2", 7), ("avoid-m3", 8)])
def test_all_are_rewarded_for_the_first_way_and_show_a_second_one(name, other):
    task = get_task(name)
    assert task.env_config == {"way": 5}
    assert task.expert == {"ways": (5, other)}
