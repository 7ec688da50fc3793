"""The diffusion policy as RLlib sees it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.numpy import convert_to_numpy
from torch import Tensor

from dppo_rllib.modules.policy import DiffusionPolicy, PolicyConfig, build_dataclass
from dppo_rllib.networks import Critic, CriticConfig, ObservationSpec

# Columns of a training batch.
CHAIN_PREV, CHAIN_NEXT, FT_INDEX = "chain_prev", "chain_next", "ft_index"
# Column of an acting batch that makes sampling reproducible, and columns of what acting returns.
NOISE, CHAINS, LOG_PROBS = "noise", "chains", "log_probs"
# Entries of the state that are no weights but travel and are saved with them.
SCHEDULED = ("ft_denoising_steps", "min_sampling_denoising_std")
_PREFIXES = {"actor": "policy.actor.", "actor_ft": "policy.actor_ft.", "critic": "critic."}


def act(
    policy: DiffusionPolicy, batch: dict[str, Any], *, deterministic: bool
) -> dict[str, Tensor]:
    """Chunks `[B, Tp, Da]`, their chains and log-probabilities, for the observations of a batch."""
    chain = policy.sample(batch[Columns.OBS], deterministic=deterministic, noise=batch.get(NOISE))
    return {Columns.ACTIONS: chain.chunk, CHAINS: chain.x, LOG_PROBS: chain.log_probs}


class DiffusionRLModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """Frozen base actor, fine-tuned actor and critic of DPPO.

    `model_config` holds the fields of `PolicyConfig` (`obs_dim` and `action_dim` come from the
    spaces) and `critic`, the fields of `CriticConfig`. The observation space is
    `Dict(state=Box(To, Do))`, the action space `Box(Ta, Da)`, as `ChunkedVectorEnv` has them.

    The components of the state are `actor` (the frozen base, which travels once), `actor_ft` (all
    that runners need after an update) and `critic` (learners only). The annealed number of
    fine-tuned steps and sampling noise are part of every state, so that whoever acts with the
    weights acts with the schedule they were trained for.
    """

    def setup(self) -> None:
        """Builds the networks from `model_config` and the spaces."""
        values = dict(self.model_config)
        critic = build_dataclass(CriticConfig, dict(values.pop("critic", {})))
        values |= {
            "obs_dim": self.observation_space["state"].shape[-1],
            "action_dim": self.action_space.shape[-1],
        }
        self.policy = DiffusionPolicy(PolicyConfig.from_dict(values))
        cond_dim = self.policy.config.cond_steps * self.policy.config.obs_dim
        self.critic = Critic(critic, ObservationSpec(cond_dim))

    def get_non_inference_attributes(self) -> list[str]:
        """What acting does not need."""
        return ["critic"]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Greedy chunks `[B, Tp, Da]` for `obs`."""
        return act(self.policy, batch, deterministic=True)

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Sampled chunks, their chains `[B, K'+1, Tp, Da]` and log-probabilities `[B, K']`."""
        return act(self.policy, batch, deterministic=False)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Log-probabilities `[B]` of the transitions in the batch (differentiable)."""
        log_probs = self.policy.log_prob(
            batch[Columns.OBS], batch[CHAIN_PREV], batch[CHAIN_NEXT], batch[FT_INDEX]
        )
        return {LOG_PROBS: log_probs}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values `[B]` of the observations."""
        return self.critic(batch[Columns.OBS])

    def get_state(
        self,
        components: str | Collection[str] | None = None,
        *,
        not_components: str | Collection[str] | None = None,
        inference_only: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Weights of the chosen components as NumPy arrays, and the schedule.

        Args:
            components: Some of "actor", "actor_ft", "critic"; None for all.
            not_components: Components to leave out.
            inference_only: Leave out the critic.
            kwargs: Ignored (RLlib's forward compatibility).
        """
        wanted = [
            prefix
            for name, prefix in _PREFIXES.items()
            if self._check_component(name, components, not_components)
            and not (inference_only and name in self.get_non_inference_attributes())
        ]
        weights = {k: v for k, v in self.state_dict().items() if k.startswith(tuple(wanted))}
        schedule = {name: np.asarray(getattr(self.policy, name)) for name in SCHEDULED}
        return convert_to_numpy(weights) | schedule

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads a state of `get_state`: whole components, the others stay as they are.

        Raises:
            ValueError: A component is incomplete, or a key is unknown.
        """
        own = self.state_dict()
        for name, prefix in _PREFIXES.items():
            given = {k for k in state if k.startswith(prefix)}
            expected = {k for k in own if k.startswith(prefix)}
            if given and expected and given != expected:
                raise ValueError(
                    f"state of component {name!r}: missing {sorted(expected - given)}, "
                    f"unknown {sorted(given - expected)}"
                )
        if unknown := [
            k for k in state if not k.startswith(_all_prefixes()) and k not in SCHEDULED
        ]:
            raise ValueError(
                f"state keys {sorted(unknown)}: expected keys that start with one of "
                f"{list(_all_prefixes())}, or {list(SCHEDULED)}"
            )
        weights = {k: torch.as_tensor(np.array(v)) for k, v in state.items() if k in own}
        self.load_state_dict(weights, strict=False)
        if "ft_denoising_steps" in state:
            self.policy.ft_denoising_steps = int(state["ft_denoising_steps"])
        if "min_sampling_denoising_std" in state:
            self.policy.min_sampling_denoising_std = float(state["min_sampling_denoising_std"])


def _all_prefixes() -> tuple[str, ...]:
    return tuple(_PREFIXES.values())
