"""One Furniture-Bench task as a Gymnasium environment."""

from __future__ import annotations

from typing import Any

import gymnasium
from jaxtyping import Float
from numpy import ndarray

from dppo_rllib.environments.furniture.vector_env import FurnitureVectorEnv


class FurnitureEnv(gymnasium.Env):
    """One copy of `FurnitureVectorEnv`, whose arguments it takes."""

    def __init__(self, assembly: str, randomness: str = "low", **kwargs: Any):
        self.copies = FurnitureVectorEnv(assembly, randomness, 1, **kwargs)
        self.metadata, self.render_mode = self.copies.metadata, self.copies.render_mode
        self.observation_space = self.copies.single_observation_space
        self.action_space = self.copies.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins an episode."""
        super().reset(seed=seed)
        return self.copies.reset(seed=[seed])[0][0], {}

    def step(self, action: Float[ndarray, "10"]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of 1/10 s.

        Raises:
            FloatingPointError: The simulation has become unstable.
        """
        obs, reward, terminated, _, infos = self.copies.step(action[None])
        if infos["invalid"][0]:
            raise FloatingPointError(f"{self.copies.assembly.name}: the simulation is unstable")
        facts = {"success": bool(infos["success"][0]), "joined": int(infos["joined"][0])}
        return obs[0], float(reward[0]), bool(terminated[0]), False, facts

    def render(self) -> Any:
        """A picture, `[240, 320, 3]`."""
        return self.copies.picture(0)

    def close(self) -> None:
        """Frees what the copy holds."""
        self.copies.close()
