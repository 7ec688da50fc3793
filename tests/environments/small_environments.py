"""Environments whose every number is known."""

import os

import gymnasium
import numpy as np


class Counter(gymnasium.Env):
    """Observation `[episode, step]`, reward = step number, counted from 1.

    Args:
        lengths: Of the episodes, in turn.
        ends: How they end, in turn: "terminated", "truncated" or "both".
        success_at: Step whose info carries success; None never mentions it.
        reuse: Return the same array every time, as some simulators do.
        render_mode: "rgb_array" paints the step number.
    """

    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)

    def __init__(
        self,
        lengths=(1000,),
        ends=("terminated",),
        success_at=None,
        reuse=False,
        render_mode=None,
    ):
        self.lengths, self.ends, self.success_at = lengths, ends, success_at
        self.render_mode = render_mode
        self.episode, self.count = -1, 0
        self.shared = np.zeros(2) if reuse else None

    def _observe(self):
        values = np.array([self.episode, self.count], np.float64)
        if self.shared is None:
            return values
        self.shared[:] = values
        return self.shared

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return self._observe(), {}

    def step(self, action):
        self.count += 1
        over = self.count == self.lengths[self.episode % len(self.lengths)]
        how = self.ends[self.episode % len(self.ends)]
        info = {} if self.success_at is None else {"is_success": self.count == self.success_at}
        terminated, truncated = over and how != "truncated", over and how != "terminated"
        return self._observe(), float(self.count), terminated, truncated, info

    def render(self):
        return np.full((2, 2, 3), self.count, np.uint8)


class Walk(gymnasium.Env):
    """A random walk that the actions push; terminates where |x| > 2; its actions must fit."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    # Bounds that float32 cannot hold, and another range than the chunks'.
    action_space = gymnasium.spaces.Box(np.array([-2.0, 0.3]), np.array([3.1, 0.9]), dtype=float)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.normal(size=3).clip(-1, 1).astype(np.float32)
        return self.x, {}

    def step(self, action):
        assert action in self.action_space
        noise = self.np_random.normal(size=3) * 0.3
        self.x = (self.x + noise + 0.1 * action.sum()).astype(np.float32)
        return self.x, float(self.x.sum()), bool((np.abs(self.x) > 2).any()), False, {}


class PictureWalk(Walk):
    """`Walk` with a noisy picture."""

    observation_space = gymnasium.spaces.Dict(
        state=Walk.observation_space, rgb=gymnasium.spaces.Box(0, 255, (5, 4, 3), np.uint8)
    )

    def _see(self):
        return {"state": self.x, "rgb": self.np_random.integers(0, 256, (5, 4, 3), np.uint8)}

    def reset(self, **kwargs):
        _, info = super().reset(**kwargs)
        return self._see(), info

    def step(self, action):
        _, *rest = super().step(action)
        return self._see(), *rest


class Together(gymnasium.vector.VectorEnv):
    """Environments that are stepped together, and stand still once their episode has ended.

    What raises `TwoPartError` is `invalid`.

    Args:
        make: Builds one.
        num_envs: How many.
        max_episode_steps: Cuts episodes.
        draws: Pictures are drawn when asked for, too.
    """

    def __init__(self, make, num_envs, max_episode_steps=None, draws=False, render_mode=None):
        self.num_envs, self.render_mode = num_envs, render_mode
        self.metadata = {"autoreset_mode": gymnasium.vector.AutoresetMode.DISABLED}
        self.envs = [make() for _ in range(num_envs)]
        if max_episode_steps is not None:
            self.envs = [gymnasium.wrappers.TimeLimit(e, max_episode_steps) for e in self.envs]
        self.single_observation_space = self.envs[0].observation_space
        self.single_action_space = self.envs[0].action_space
        self.shown, self.ended = [None] * num_envs, np.zeros(num_envs, bool)
        if draws:
            self.draw_in_step = True
        self.drawn = 0

    def draw(self, rows):
        self.drawn += len(rows)
        return np.array([self.shown[i]["rgb"] for i in rows])

    def _observations(self):
        if not isinstance(self.shown[0], dict):
            return np.array(self.shown)
        keys = ("state", "rgb")
        obs = {key: np.array([shown[key] for shown in self.shown]) for key in keys}
        if not getattr(self, "draw_in_step", True):
            obs["rgb"][:] = 77
        return obs

    def reset(self, *, seed=None, options=None):
        seeds = seed or [None] * self.num_envs
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for i in np.flatnonzero(mask):
            self.shown[i], _ = self.envs[i].reset(seed=seeds[i])
        self.ended[mask] = False
        return self._observations(), {}

    def step(self, actions):
        reward = np.zeros(self.num_envs)
        terminated, truncated, invalid, success = np.zeros((4, self.num_envs), bool)
        infos = {"invalid": invalid}
        for i in np.flatnonzero(~self.ended):
            try:
                result = self.envs[i].step(actions[i])
            except TwoPartError:
                invalid[i] = True
                continue
            self.shown[i], reward[i], terminated[i], truncated[i], info = result
            if "is_success" in info:
                infos.setdefault("is_success", np.zeros(self.num_envs, bool))[i] = info[
                    "is_success"
                ]
        self.ended |= terminated | truncated | infos["invalid"]
        return self._observations(), reward, terminated, truncated, infos

    def render(self):
        return tuple(env.render() for env in self.envs)


class TwoPartError(Exception):
    """Cannot be built from its message."""

    def __init__(self, code, place):
        super().__init__(f"{code} at {place}")
        self.code = code


class StickyError(Exception):
    """Cannot leave its process."""

    def __init__(self):
        super().__init__("cannot travel")
        self.held = (i for i in range(3))


class Faulty(Counter):
    """Fails in step `at` of the episodes in `episodes` (None: all), and in `resets`.

    Args:
        fault: "nan", "inf" and "huge" are of the observation, "reward" and "huge reward" of the
            reward; "raise", "sticky" and "exit" end the step or the process.
        at: Step, counted from 1; 0 never fails.
        episodes: Counted from 0 in each build.
        resets: Episodes whose reset fails: raises, or, with a fault of the observation, has it.
    """

    def __init__(self, fault="nan", at=0, episodes=None, resets=(), **kwargs):
        super().__init__(**kwargs)
        self.fault, self.at, self.episodes, self.resets = fault, at, episodes, resets

    VALUES = {"nan": np.nan, "inf": -np.inf, "huge": 1e39}

    def reset(self, *, seed=None, options=None):
        obs, info = super().reset(seed=seed, options=options)
        if self.episode in self.resets:
            if self.fault not in self.VALUES:
                raise TwoPartError(7, "reset")
            obs[1] = self.VALUES[self.fault]
        return obs, info

    def step(self, action):
        obs, reward, terminated, truncated, info = super().step(action)
        if self.count == self.at and (self.episodes is None or self.episode in self.episodes):
            if self.fault == "raise":
                raise TwoPartError(3, "step")
            if self.fault == "sticky":
                raise StickyError
            if self.fault == "exit":
                os._exit(13)
            if self.fault in self.VALUES:
                obs[0] = self.VALUES[self.fault]
            else:
                reward = np.nan if self.fault == "reward" else -1e39
        return obs, reward, terminated, truncated, info


class Noise(Faulty):
    """`Faulty` with observations `[a number drawn in reset, step]`."""

    def _observe(self):
        return np.array([self.draw, self.count])

    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)
        self.draw = self.np_random.normal()
        return super().reset(options=options)


def picture(episode, step, channels=3):
    """What `Shown` shows, channels first: every pixel of a picture and every picture differs."""
    pixels = np.arange(channels * 4 * 7, dtype=np.uint8).reshape(channels, 4, 7) % 29
    return (pixels + 30 * (step % 4) + 120 * (episode % 2)).astype(np.uint8)


class Shown(Faulty):
    """`Faulty` with a picture of the step.

    Args:
        channels: Of the picture.
        last: They are the last axis.
        fault: Also "float picture" and "small picture".
    """

    def __init__(self, channels=3, last=False, **kwargs):
        super().__init__(**kwargs)
        self.channels, self.last = channels, last
        shape = (4, 7, channels) if last else (channels, 4, 7)
        self.observation_space = gymnasium.spaces.Dict(
            state=Counter.observation_space, rgb=gymnasium.spaces.Box(0, 255, shape, np.uint8)
        )
        self.canvas = np.zeros(shape, np.uint8)

    def _show(self, state):
        rgb = picture(self.episode, self.count, self.channels)
        rgb = rgb.transpose(1, 2, 0) if self.last else rgb
        if self.shared is not None:
            self.canvas[:] = rgb
            rgb = self.canvas
        if self.at and self.count == self.at and self.fault.endswith("picture"):
            rgb = rgb / 255 if self.fault == "float picture" else rgb[:1]
        return {"state": state, "rgb": rgb}

    def reset(self, **kwargs):
        state, info = super().reset(**kwargs)
        return self._show(state), info

    def step(self, action):
        state, reward, *rest = super().step(action)
        reward = abs(self.count) if self.fault.endswith("picture") else reward
        return self._show(state), reward, *rest
