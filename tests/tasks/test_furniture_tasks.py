"""The presets of Furniture-Bench, against what the authors' YAML files say."""

import pytest
from official_presets import (
    assert_iterations_agree,
    assert_networks_agree,
    assert_settings_agree,
    official_configs,
    preset,
)

from dppo_rllib.tasks import get_task
from dppo_rllib.tasks.scripted import has_expert

OFFICIAL = official_configs("furniture")


@pytest.mark.parametrize("variant", OFFICIAL)
def test_a_preset_has_the_authors_settings(variant):
    stage, name, kind, network = variant.split("/")
    task = get_task("-".join([*name.split("_"), *(["unet"] if network == "unet" else [])]))
    official, config = dict(OFFICIAL[variant]), preset(get_task(task.name), stage, kind)
    if network == "unet" and stage == "pretrain":
        # Theirs changes between cloning and fine-tuning here and there; ours does not.
        official.pop("network.groupnorm_eps", None)
    assert_settings_agree(official, task, config)
    assert_networks_agree(official, config)
    if stage == "finetune":
        assert_iterations_agree(official, task)


@pytest.mark.parametrize("name", ["one-leg", "lamp", "round-table"])
@pytest.mark.parametrize("randomness", ["low", "med"])
def test_a_cloned_network_is_that_of_fine_tuning(name, randomness):
    for policy in ("", "-unet"):
        settings = get_task(f"{name}-{randomness}{policy}").settings
        assert settings["DiffusionBC"]["network"] == settings["DPPO"]["network"]


@pytest.mark.parametrize("name", ["one-leg", "lamp", "round-table"])
@pytest.mark.parametrize("kind", ["diffusion", "gaussian"])
def test_small_presets_are_whole_and_their_networks_the_same(name, kind):
    task = get_task(f"{name}-low-small")
    cloned, tuned = (preset(task, stage, kind) for stage in ("pretrain", "finetune"))
    assert cloned.network["mlp_dims"] == tuned.network["mlp_dims"]
    assert task.rollout_fragment_length == -(-task.max_episode_steps // 8)
    rows = task.num_envs * task.rollout_fragment_length
    assert 5 * tuned.minibatch_size == rows * (10 if kind == "diffusion" else 1)
    assert cloned.lr_cycle_epochs == task.epochs


@pytest.mark.parametrize("name", ["one-leg-low", "lamp-med-unet", "round-table-low"])
def test_all_tasks_have_experts(name):
    assert has_expert(get_task(name))
