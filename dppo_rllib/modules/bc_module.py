"""A policy while it is pre-trained, as RLlib sees it."""

from __future__ import annotations

import copy
from typing import Any

from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from dppo_rllib.modules.chunk_module import act, shapes_of
from dppo_rllib.modules.policies import build_policy, policy_config_from_dict


class BCModule(TorchRLModule, InferenceOnlyAPI):
    """The network that gradient steps move (`online`) and the policy, its running average.

    `model_config` and spaces are those of `ChunkRLModule`, without a critic. Whoever acts gets the
    average only.
    """

    def setup(self) -> None:
        """Builds both networks with the same weights."""
        values = dict(self.model_config) | shapes_of(self.observation_space, self.action_space)
        self.policy = build_policy(policy_config_from_dict(values))
        self.online = copy.deepcopy(self.policy.actor)
        self.policy.requires_grad_(False).eval()

    def get_non_inference_attributes(self) -> list[str]:
        """What acting does not need."""
        return ["online"]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Greedy chunks `[B, Tp, Da]` for `obs`."""
        return act(self.policy, batch, deterministic=True)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Sampled chunks `[B, Tp, Da]` for `obs`."""
        return act(self.policy, batch, deterministic=False)
