"""A simulator in which nothing moves; the sidecar runs it, also on Python 3.8."""

import numpy as np


class Still:
    """Takes and shows what the fork's `FurnitureRLSimEnv` does for one_leg."""

    takes_numpy = True

    def __init__(self, num_envs, **kwargs):
        robot, parts = np.zeros((num_envs, 14), np.float32), np.zeros((num_envs, 42), np.float32)
        robot[:, 6] = parts[:, 6::7] = 1
        self._obs = {"robot_state": robot, "parts_poses": parts}
        self._rewards, self._done = (
            np.zeros((num_envs, 1), np.float32),
            np.zeros((num_envs, 1), bool),
        )

    def reset(self, env_idxs=None):
        """The same as ever."""
        return self._obs

    def step(self, action):
        """The same as ever."""
        return self._obs, self._rewards, self._done, {}
