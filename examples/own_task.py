"""A task of one's own, from nothing to a fine-tuned policy.

    dppo --tasks-from examples/own_task.py tasks
    python examples/own_task.py                  # writes demonstrations to ./slide-demonstrations
    dppo --tasks-from examples/own_task.py pretrain slide --epochs 20 --output slide-policy
    dppo --tasks-from examples/own_task.py finetune slide --from slide-policy --iterations 10

The demonstrator pushes a puck to a goal, half as fast as it could; DPPO learns to be quicker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from dppo_rllib.datasets import Demonstrations, write_demonstrations
from dppo_rllib.tasks import Task, register

DEMONSTRATIONS = Path("slide-demonstrations")
STEPS = 40


class Slide(gymnasium.Env):
    """A puck on ice: two coordinates and two velocities, pushed by a force."""

    observation_space = gymnasium.spaces.Box(-10, 10, (4,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict]:
        """Starts at rest, somewhere in the square."""
        super().reset(seed=seed)
        self.state = np.concatenate([self.np_random.uniform(-1, 1, 2), np.zeros(2)])
        return self.state.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """The reward of a step is 1 at the goal, and falls off around it."""
        position, velocity = self.state[:2], self.state[2:]
        velocity = 0.9 * velocity + 0.1 * np.clip(action, -1, 1)
        position = np.clip(position + 0.1 * velocity, -10, 10)
        self.state = np.concatenate([position, velocity])
        distance = float(np.linalg.norm(position))
        info = {"success": distance < 0.1}
        return self.state.astype(np.float32), float(np.exp(-4 * distance)), False, False, info


def demonstrate(episodes: int = 200, seed: int = 0) -> Demonstrations:
    """Episodes of a cautious controller."""
    env, rng = gymnasium.wrappers.TimeLimit(Slide(), STEPS), np.random.default_rng(seed)
    observations, actions, rewards = [], [], []
    for episode in range(episodes):
        obs, _ = env.reset(seed=seed + episode)
        for _ in range(STEPS):
            force = -0.5 * obs[:2] - 0.5 * obs[2:] + 0.1 * rng.standard_normal(2)
            action = np.clip(force, -1, 1).astype(np.float32)
            observations.append(obs)
            actions.append(action)
            obs, reward, *_ = env.step(action)
            rewards.append(reward)
    ends = np.zeros(len(actions), bool)
    ends[STEPS - 1 :: STEPS] = True
    return Demonstrations(
        observations=np.array(observations),
        actions=np.array(actions),
        rewards=np.array(rewards, np.float32),
        terminated=np.zeros(len(actions), bool),
        truncated=ends,
        episode_lengths=np.full(episodes, STEPS, np.int64),
        fps=10.0,
        task="Bring the puck to the goal.",
    )


if __name__ == "__main__":
    print(write_demonstrations(demonstrate(), DEMONSTRATIONS))
else:
    register(
        Task(
            name="slide",
            description="A puck on ice, to be brought to a goal",
            env=Slide,
            obs_dim=4,
            action_dim=2,
            max_episode_steps=STEPS,
            dataset=DEMONSTRATIONS,
            success="within 0.1 of the goal",
            settings={
                "DiffusionBC": {"network": {"mlp_dims": (128, 128, 128)}, "minibatch_size": 256},
                "DPPO": {"minibatch_size": 5000, "actor_lr": 3e-4},
            },
            rollout_fragment_length=20,
            epochs=20,
            iterations=10,
        )
    )
