"""The presets, against what the authors' YAML files say."""

import json
from pathlib import Path

import pytest
from official_settings import NETWORK, settings_of

from dppo_rllib.algorithms.by_kind import ALGORITHMS
from dppo_rllib.tasks import get_task

OFFICIAL = json.loads((Path(__file__).parents[1] / "golden" / "robomimic_configs.json").read_text())
FINE_TUNING = {"diffusion": "DPPO", "gaussian": "GaussianPPO", "gmm": "GMMPPO"}
CLONING = {"diffusion": "DiffusionBC", "gaussian": "GaussianBC", "gmm": "GMMBC"}
VISION = {"spatial_emb": "spatial_emb", "num_img": "num_cameras"}


def of(variant):
    """The task of a variant, and the configuration that it makes."""
    stage, scene, policy, network, seen = variant.split("/")
    parts = [scene]
    parts += ["pixels"] if seen == "pixels" else []
    parts += [network] if network != "mlp" else []
    task = get_task("-".join(parts))
    name = (FINE_TUNING if stage == "finetune" else CLONING)[policy]
    return task, ALGORITHMS[name].get_default_config().training(**task.settings[name])


@pytest.mark.parametrize("variant", OFFICIAL)
def test_a_preset_has_the_authors_settings(variant):
    official, (task, config) = OFFICIAL[variant], of(variant)
    found, expected = settings_of(official, config)
    assert found == expected
    batch = official["train.batch_size"] * official.get("train.grad_accumulate", 1)
    assert config.minibatch_size == batch
    assert (task.obs_dim, task.action_dim) == (official["obs_dim"], official["action_dim"])
    if "train.n_epochs" in official:
        assert task.epochs == official["train.n_epochs"]


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
    assert task.num_envs == official["env.n_envs"]
    assert task.rollout_fragment_length == official["train.n_steps"]
    assert task.max_episode_steps == official["env.max_episode_steps"]
    if variant != "finetune/can/gmm/transformer/states":  # 300, of a task with 151 otherwise
        assert task.iterations == official["train.n_train_itr"]
