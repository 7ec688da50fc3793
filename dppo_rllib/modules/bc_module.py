"""The policy while it is pre-trained, as RLlib sees it."""

from __future__ import annotations

from typing import Any

from ray.rllib.core.rl_module.apis import InferenceOnlyAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from torch import Tensor

from dppo_rllib.modules.diffusion_module import act
from dppo_rllib.modules.policy import DiffusionPolicy, PolicyConfig, build_actor


class DiffusionBCModule(TorchRLModule, InferenceOnlyAPI):
    """The network that gradient steps move (`online`) and the policy, its running average.

    `model_config` holds the fields of `PolicyConfig`; `obs_dim` and `action_dim` come from the
    spaces, which are those of `DiffusionRLModule`. Whoever acts gets the average only.
    """

    def setup(self) -> None:
        """Builds both networks with the same weights."""
        values = dict(self.model_config) | {
            "obs_dim": self.observation_space["state"].shape[-1],
            "action_dim": self.action_space.shape[-1],
        }
        config = PolicyConfig.from_dict(values)
        self.policy = DiffusionPolicy(config)
        self.online = build_actor(config)
        self.online.load_state_dict(self.policy.actor.state_dict())
        self.policy.requires_grad_(False)

    def get_non_inference_attributes(self) -> list[str]:
        """What acting does not need."""
        return ["online"]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Greedy chunks `[B, Tp, Da]` for `obs`."""
        return act(self.policy, batch, deterministic=True)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Sampled chunks `[B, Tp, Da]` for `obs`."""
        return act(self.policy, batch, deterministic=False)
