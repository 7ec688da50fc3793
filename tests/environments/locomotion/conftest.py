import gymnasium
import pytest

pytest.importorskip("mujoco")


@pytest.fixture
def copies(closing):
    """A `LocomotionVectorEnv` of an id, as `make_chunked_env` makes it."""
    from dppo_rllib.environments.locomotion.vector_env import LocomotionVectorEnv

    def make(env="Hopper-v5", num_envs=3, **kwargs):
        spec = gymnasium.spec(env)
        settings = {"max_episode_steps": spec.max_episode_steps, **kwargs}
        return closing(LocomotionVectorEnv(spec, num_envs, **settings))

    return make
