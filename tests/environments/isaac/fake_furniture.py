"""What the fork's `FurnitureRLSimEnv` takes and returns, without physics; runs on Python 3.8.

Interface (constructor, `reset(env_idxs)`, `step`, shapes) as in ankile/furniture-bench,
`furniture_bench/envs/furniture_rl_sim_env.py`.
"""

import os
import subprocess
import sys
import time

import numpy as np

KEYS = ["ee_pos", "ee_quat", "ee_pos_vel", "ee_ori_vel", "gripper_width"]
PAIRS = {"one_leg": 1, "lamp": 2, "round_table": 2}
PARTS = {"one_leg": 5, "lamp": 3, "round_table": 3}


class FakeFurniture:
    """The hand follows the actions half-way; the next pair is assembled where x is above 0.9."""

    takes_numpy = True

    def __init__(
        self,
        randomness,
        furniture,
        num_envs,
        max_env_steps,
        obs_keys,
        concat_robot_state,
        act_rot_repr,
        action_type,
        ctrl_mode,
        stiffness,
        damping,
        pos_scalar,
        rot_scalar,
        april_tags,
        headless,
    ):
        assert randomness in ("low", "med")
        assert obs_keys == ["robot_state/" + key for key in KEYS] + ["parts_poses"]
        assert (concat_robot_state, act_rot_repr, action_type) == (True, "rot_6d", "pos")
        assert (ctrl_mode, stiffness, damping, april_tags) == ("diffik", 1000, 200, False)
        assert (pos_scalar, rot_scalar, headless) == (1, 1, True)
        print(f"building {num_envs} copies of {furniture}")
        print("in Python {}.{}".format(*sys.version_info), file=sys.stderr)
        self.num_envs = num_envs
        self.env_steps = np.zeros(num_envs, int)
        self.already_assembled = np.zeros((num_envs, PAIRS[furniture]), bool)
        self.robot = np.zeros((num_envs, 14), np.float32)
        self.parts = np.zeros((num_envs, 7 * (PARTS[furniture] + 1)), np.float32)

    def reset(self, env_idxs=None):
        if env_idxs is None:
            env_idxs = np.arange(self.num_envs, dtype=np.int32)
        assert env_idxs.size > 0 and env_idxs.dtype == np.int32
        self.already_assembled[env_idxs] = False
        self.env_steps[env_idxs] = 0
        self.robot[env_idxs] = np.random.normal(size=(len(env_idxs), 14))
        quaternions = self.robot[env_idxs, 3:7]
        quaternions /= np.linalg.norm(quaternions, axis=1, keepdims=True)
        self.robot[env_idxs, 3:7] = quaternions
        self.parts[env_idxs] = np.random.normal(size=(len(env_idxs), self.parts.shape[1]))
        self.parts += 1  # the fork advances all copies
        return self.observation()

    def step(self, action):
        assert action.shape == (self.num_envs, 10) and action.dtype == np.float32
        self.robot[:, :3] += (action[:, :3] - self.robot[:, :3]) / 2
        self.robot[:, 13] = action[:, 9]
        new = action[:, 0] > 0.9
        first = np.argmin(self.already_assembled, axis=1)
        new &= ~self.already_assembled.all(axis=1)
        self.already_assembled[new, first[new]] = True
        self.env_steps += 1
        rewards = new.astype(np.float32)[:, None]
        done = self.already_assembled.all(axis=1)[:, None]
        return self.observation(), rewards, done, {"obs_success": True, "action_success": True}

    def observation(self):
        return {"robot_state": self.robot.copy(), "parts_poses": self.parts.copy()}


# Values of an action's y that make `Faulty` fail.
CRASH, HANG, SLOW, RAISE, NAN, NAN_REWARD, WRONG_SHAPE = np.arange(1, 8) / 8


class Faulty(FakeFurniture):
    """Fails as the actions have it."""

    def step(self, action):
        asked = action[:, 1]
        if (asked == CRASH).any():
            print("about to crash", flush=True)
            os._exit(13)
        if (asked == HANG).any():
            time.sleep(1000)
        if (asked == SLOW).any():
            time.sleep(4)
        if (asked == RAISE).any():
            raise RuntimeError("PhysX is unhappy")
        obs, rewards, done, info = super().step(action)
        obs["robot_state"][asked == NAN, 2] = np.nan
        rewards[asked == NAN_REWARD] = np.inf
        if (asked == WRONG_SHAPE).any():
            obs["robot_state"] = obs["robot_state"][:, :1]
        return obs, rewards, done, info


class NanAfterReset(FakeFurniture):
    """Its first `times` resets leave copy 1 with NaN."""

    times = 2

    def reset(self, env_idxs=None):
        obs = super().reset(env_idxs)
        if self.times > 0:
            obs["parts_poses"][1, 0] = np.nan
        self.times -= 1
        return obs


class NanForEver(NanAfterReset):
    times = 1000


class CrashesInReset(FakeFurniture):
    """In those of single copies."""

    def reset(self, env_idxs=None):
        if env_idxs is not None:
            os._exit(5)
        return super().reset()


class NeverResets(FakeFurniture):
    def reset(self, env_idxs=None):
        raise RuntimeError("no memory left")


class NeverStarts:
    takes_numpy = True

    def __init__(self, **kwargs):
        raise RuntimeError("no GPU")


class StartsAnother(FakeFurniture):
    """A process that inherits whatever it may, and lives for a while."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        subprocess.Popen(
            ["sleep", "6"], close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


class NeedsIsaacGym:
    takes_numpy = True

    def __init__(self, **kwargs):
        import isaacgym_that_nobody_has  # noqa: F401
