"""The presets of Avoid, against what the authors' YAML files say."""

import numpy as np
import pytest
from official_presets import (
    assert_iterations_agree,
    assert_networks_agree,
    assert_settings_agree,
    official_configs,
    preset,
)

from dppo_rllib.datasets import read_demonstrations
from dppo_rllib.tasks import get_task, scripted
from dppo_rllib.tasks.scripted import collect_with_expert

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
    arm = get_task(f"{name}@mujoco")
    assert arm.env_config == {"way": 5, "simulator": "mujoco"}
    assert arm.settings == task.settings


def test_demonstrations_are_as_noisy_as_suits_the_task(tmp_path):
    for name, noise in {"own": {}, "same": {"noise": 0.3}, "less": {"noise": 0.05}}.items():
        collect_with_expert("avoid-m1", tmp_path / name, episodes=3, **noise)
    read = {name: read_demonstrations(tmp_path / name) for name in ("own", "same", "less")}
    own, same, less = (read[name].actions for name in read)
    np.testing.assert_array_equal(own, same)
    assert len(own) != len(less) or (own != less).any()


def test_demonstrations_are_written_as_they_come(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(scripted, "write_demonstrations", lambda parts, _: next(iter(parts)))
    scripted.collect_with_expert(
        "avoid-m1", tmp_path / "d", episodes=40, progress=lambda *done: tried.append(done[0])
    )
    assert tried[-1] < 40


def test_demonstrations_that_are_there_are_kept(tmp_path):
    with pytest.raises(FileExistsError, match="exists already"):
        collect_with_expert("avoid-m1", tmp_path, episodes=1)
