"""What describes a policy that draws a chunk at once, whatever trains it."""

from __future__ import annotations

from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided

from dppo_rllib.algorithms.chunk_config import ChunkConfig


class OneStepConfig(ChunkConfig):
    """A Gaussian policy or a mixture of Gaussians."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class)
        self.randn_clip_value: float | None = None

    def training(
        self, *, randn_clip_value: float | None = NotProvided, **kwargs: Any
    ) -> OneStepConfig:
        """Sets how chunks are drawn.

        Args:
            randn_clip_value: Bound on sampling noise in standard deviations, None for no bound.
            kwargs: Other settings.

        Raises:
            TypeError: A setting is unknown.
        """
        super().training(**kwargs)
        self._set({"randn_clip_value": randn_clip_value})
        return self

    def _policy_fields(self) -> dict[str, Any]:
        return super()._policy_fields() | {"randn_clip_value": self.randn_clip_value}

    def _take_over(self, policy: Any) -> None:
        super()._take_over(policy)
        self.randn_clip_value = policy.randn_clip_value
