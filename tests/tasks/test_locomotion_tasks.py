"""The presets of locomotion, against what the authors' YAML files say."""

import pytest
from official_presets import NETWORK, official_configs, settings_of

from dppo_rllib.algorithms.by_kind import ALGORITHMS
from dppo_rllib.environments import make_chunked_env
from dppo_rllib.tasks import get_task
from dppo_rllib.tasks.behaviour_specs import BEHAVIOURS

OFFICIAL = official_configs("gym")
ROBOTS = ("hopper", "walker2d", "halfcheetah")
NAMES = {
    "finetune": {"diffusion": "DPPO"},
    "scratch": {"diffusion": "DPPO", "gaussian": "GaussianPPO"},
    "pretrain": {"diffusion": "DiffusionBC", "gaussian": "GaussianBC"},
}
# What the authors leave out is what their networks take by default.
THEIR_DEFAULTS = {"network.fixed_std": None, "network.residual_style": False}


def of(variant):
    """The task of a variant, and the configuration that it makes."""
    stage, robot, policy = variant.split("/")
    task = get_task(f"{robot}-{'scratch' if stage == 'scratch' else 'medium'}")
    name = NAMES[stage][policy]
    return task, ALGORITHMS[name].get_default_config().training(**task.settings.get(name, {}))


def test_all_robots_have_all_of_their_variants():
    assert {variant.split("/")[1] for variant in OFFICIAL} == set(ROBOTS)
    assert len(OFFICIAL) == 3 * 5


@pytest.mark.parametrize("variant", OFFICIAL)
def test_a_preset_has_the_authors_settings(variant):
    official, (task, config) = OFFICIAL[variant], of(variant)
    found, expected = settings_of(official, config)
    if variant.startswith("pretrain") and variant.endswith("gaussian"):
        expected["horizon_steps"] = 4  # theirs is 1: chunks are those of the diffusion policy
    assert found == expected
    assert config.minibatch_size == official["train.batch_size"]
    assert (task.obs_dim, task.action_dim) == (official["obs_dim"], official["action_dim"])
    if variant.startswith("pretrain"):
        assert task.epochs == official["train.n_epochs"]


@pytest.mark.parametrize("variant", OFFICIAL)
def test_its_networks_are_theirs(variant):
    official, (_, config) = OFFICIAL[variant], of(variant)
    if variant.endswith("gaussian"):
        official = THEIR_DEFAULTS | official
        if official["network.fixed_std"] is None:
            official = official | {"network.std_min": 0.01, "network.std_max": 1.0}
    policy = config.policy_config(official["obs_dim"], official["action_dim"])
    for key, value in official.items():
        # Neither has a LayerNorm or an activation at its end.
        if key.startswith("network.") and "layernorm" not in key and "out_activ" not in key:
            name = key.removeprefix("network.")
            ours = getattr(policy.network, NETWORK.get(name, name))
            assert (list(ours) if isinstance(ours, tuple) else ours) == value, key
    if "model.critic.mlp_dims" in official:
        assert list(config.critic["mlp_dims"]) == official["model.critic.mlp_dims"]
        assert config.critic["activation"] == official["model.critic.activation_type"]


@pytest.mark.parametrize("variant", [name for name in OFFICIAL if "pretrain" not in name])
def test_an_iteration_samples_as_many_steps(variant):
    official, (task, _) = OFFICIAL[variant], of(variant)
    assert task.num_envs == official["env.n_envs"]
    assert task.rollout_fragment_length == official["train.n_steps"]
    assert task.max_episode_steps == official["env.max_episode_steps"]
    if variant != "scratch/walker2d/gaussian":  # 301, of a task with 501 otherwise
        assert task.iterations == official["train.n_train_itr"]


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize("start", ["medium", "scratch"])
def test_dimensions_are_those_of_the_environment(robot, start):
    pytest.importorskip("mujoco")
    task = get_task(f"{robot}-{start}")
    env = make_chunked_env(task.env, 1, act_steps=4, cond_steps=1)
    assert env.single_observation_space["state"].shape == (1, task.obs_dim)
    assert env.single_action_space.shape == (4, task.action_dim)
    env.close()


@pytest.mark.parametrize("robot", ROBOTS)
def test_demonstrations_are_collected_where_the_task_is_learned(robot):
    task = get_task(f"{robot}-medium")
    assert BEHAVIOURS[task.name].env == task.env


@pytest.mark.parametrize("stage", ["medium", "scratch"])
@pytest.mark.parametrize("robot", ROBOTS)
def test_each_is_there_in_the_version_of_d4rls_data(robot, stage):
    task, older = get_task(f"{robot}-{stage}"), get_task(f"{robot}-{stage}@v4")
    assert (task.env[-3:], older.env) == ("-v5", task.env.replace("-v5", "-v4"))
    assert (older.dataset, older.base_policy) == (task.dataset, task.base_policy)
    env = make_chunked_env(older.env, 1, act_steps=1, cond_steps=1)
    assert env.observation_space["state"].shape[-1] == older.obs_dim
    env.close()
