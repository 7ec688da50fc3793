"""Trajectories of policies, step by step."""

import numpy as np
import pytest
import torch

from dppo_rllib.checkpoints import PolicyCheckpoint, make_env
from dppo_rllib.checkpoints.traces import trace_episodes
from dppo_rllib.environments import Normalization
from dppo_rllib.environments.avoid import ENV_ID
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.rollouts.evaluation import policy_act

LOW, HIGH = np.array([0.2, -0.3, 0.2, -0.3]), np.array([0.8, 0.5, 0.8, 0.5])
NORMALIZATION = Normalization(
    *(np.float32(x) for x in (LOW, HIGH, np.full(2, -0.008), np.full(2, 0.01)))
)


def untrained(normalization=NORMALIZATION, cond_steps=1, steps=10):
    config = DiffusionPolicyConfig.from_dict(
        {
            "obs_dim": 4,
            "action_dim": 2,
            "horizon_steps": 4,
            "act_steps": 3,
            "cond_steps": cond_steps,
            "denoising": {"denoising_steps": 3},
            "network": {"mlp_dims": [16, 16, 16], "time_dim": 8},
        }
    )
    torch.manual_seed(0)
    env = {"id": ENV_ID, "config": {"start_noise": 0.01}, "max_episode_steps": steps}
    return PolicyCheckpoint(config, DiffusionPolicy(config).state_dict(), normalization, env=env)


@pytest.mark.parametrize("normalization", [NORMALIZATION, None])
@pytest.mark.parametrize("cond_steps", [1, 2, 5])
def test_every_third_state_is_what_the_policy_has_seen(normalization, cond_steps):
    """Chunks of 3 actions, in episodes of 10 steps."""
    checkpoint = untrained(normalization, cond_steps)
    traces = np.array(trace_episodes(checkpoint, 4, deterministic=False, seed=3))
    assert traces.shape == (4, 11, 4)
    envs = make_env(checkpoint, 4)
    act = policy_act(checkpoint.build(), deterministic=False, seed=3)
    obs, _ = envs.reset(seed=3)
    for step in (0, 3, 6, 9):
        states = traces[:, step]
        expected = states if normalization is None else normalization.normalize_obs(states)
        np.testing.assert_allclose(obs["state"][:, -1], expected, rtol=1e-4, atol=1e-5)
        obs, _, terminated, _, infos = envs.step(act(obs))
    assert terminated.all() and (infos["env_steps"] == 1).all()
    envs.close()


def test_states_in_between_are_those_of_single_steps():
    """The command moves by what the policy may ask for, and never stands still."""
    [trace] = trace_episodes(untrained(), 1, deterministic=False)
    changes = np.diff(trace[:, :2].astype(float), axis=0)
    assert (changes != 0).all()
    assert (changes > -0.0081).all() and (changes < 0.0101).all()


def test_the_seed_decides():
    def run(seed):
        return np.array(trace_episodes(untrained(), 2, deterministic=False, seed=seed))

    np.testing.assert_array_equal(run(1), run(1))
    assert (run(1)[:, 0] != run(2)[:, 0]).any()


def test_another_environment_may_be_given():
    given = {"env": ENV_ID, "env_config": {}, "max_episode_steps": 4}
    traces = np.array(trace_episodes(untrained(), 2, deterministic=True, **given))
    assert traces.shape == (2, 5, 4)
    np.testing.assert_allclose(traces[:, 0], [[0.525, -0.28, 0.525, -0.28]] * 2, rtol=1e-6)
