"""Pre-training of diffusion policies."""

from __future__ import annotations

from dppo_rllib.algorithms.bc import ChunkBC, ChunkBCConfig
from dppo_rllib.algorithms.diffusion_config import DiffusionConfig


class DiffusionBCConfig(ChunkBCConfig, DiffusionConfig):
    """Configuration of pre-training; the defaults are the authors' for Gym.

    ```python
    config = DiffusionBCConfig().training(dataset="demonstrations/hopper-medium")
    algo = config.build_algo()
    for _ in range(200):
        algo.train()  # one epoch
    ```
    An environment is needed for evaluation only.
    """

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or DiffusionBC)

    def validate(self) -> None:
        """Checks all settings before anything is built.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        if self.learned_eta is not None:
            raise ValueError(
                f"learned_eta={self.learned_eta}: only fine-tuning learns it; expected None"
            )
        super().validate()


class DiffusionBC(ChunkBC):
    """Behaviour cloning of a diffusion policy (DPPO, App. D; Chi et al. 2023, Sec. III).

    One training iteration is one epoch over the demonstrations.
    """

    @classmethod
    def get_default_config(cls) -> DiffusionBCConfig:
        """`DiffusionBCConfig()`."""
        return DiffusionBCConfig()
