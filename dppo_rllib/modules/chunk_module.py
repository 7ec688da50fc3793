"""Policies that act in chunks as RLlib sees them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, ValueFunctionAPI
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.numpy import convert_to_numpy
from torch import Tensor, nn

from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.modules.policies import build_policy, policy_config_from_dict
from dppo_rllib.modules.policy import ChunkPolicy
from dppo_rllib.networks import Critic, CriticConfig

# Columns of a training batch.
ENCODED, CHAIN_PREV, CHAIN_NEXT, FT_INDEX = "encoded", "chain_prev", "chain_next", "ft_index"
# Column of an acting batch that makes sampling reproducible, and columns of what acting returns.
NOISE, CHAINS, LOG_PROBS = "noise", "chains", "log_probs"
_PREFIXES = {
    "actor": "policy.actor.",
    "actor_ft": "policy.actor_ft.",
    "eta": "policy.eta.",
    "critic": "critic.",
}


# What the shapes of a policy are called in messages.
SHAPES = {
    "obs_dim": "observation dimension",
    "action_dim": "action dimension",
    "image_shape": "pictures of shape",
}


def shapes_of(observation_space: Any, action_space: Any) -> dict[str, Any]:
    """Fields of a `PolicyConfig` that follow from the spaces of a `ChunkedVectorEnv`."""
    pictures = observation_space.spaces.get("rgb")
    return {
        "obs_dim": observation_space["state"].shape[-1],
        "action_dim": action_space.shape[-1],
        "image_shape": None if pictures is None else tuple(pictures.shape[1:]),
    }


def act(
    policy: ChunkPolicy, batch: dict[str, Any], *, deterministic: bool, score: bool = False
) -> dict[str, Tensor]:
    """Chunks `[B, Tp, Da]`, their chains and log-probabilities, for the observations of a batch."""
    chain = policy.sample(
        batch[Columns.OBS], deterministic=deterministic, noise=batch.get(NOISE), score=score
    )
    return {Columns.ACTIONS: chain.chunk, CHAINS: chain.x, LOG_PROBS: chain.log_probs}


class ChunkRLModule(TorchRLModule, ValueFunctionAPI, InferenceOnlyAPI):
    """Frozen base actor, fine-tuned actor and critic.

    `model_config` holds the fields of the policy's configuration (dimensions come from the spaces)
    and `critic`, those of `CriticConfig`. The observation space is
    `Dict(state=Box(To, Do))`, with pictures also `rgb=Box(Ti, C, H, W)`, the action space
    `Box(Ta, Da)`, as `ChunkedVectorEnv` has them.

    The components of the state are `actor` (the frozen base, which travels once), `actor_ft` and
    `eta` (all that runners need after an update) and `critic` (learners only). Annealed values of
    the policy are part of every state, so that whoever acts with the weights acts with the
    schedule they were trained for.

    Attributes:
        policy_kind: Which of `policies.KINDS` it holds.
    """

    policy_kind: str

    def setup(self) -> None:
        """Builds the networks from `model_config` and the spaces."""
        values = {"kind": self.policy_kind, **self.model_config}
        critic = build_dataclass(CriticConfig, dict(values.pop("critic", {})))
        values |= shapes_of(self.observation_space, self.action_space)
        self.policy = build_policy(policy_config_from_dict(values))
        self.critic = Critic(critic, self.policy.config.observation_spec)
        for part in self.modules():
            if isinstance(part, nn.Dropout):
                part.eval()

    def train(self, mode: bool = True) -> ChunkRLModule:
        """Does nothing: networks act as they are scored, or importance ratios do not start at 1.

        Dropout is for cloning and stays off. In evaluation mode torch's attention would take
        another path, on a CPU one that knows no lower precision.
        """
        return self

    def get_non_inference_attributes(self) -> list[str]:
        """What acting does not need."""
        return ["critic"]

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Greedy chunks `[B, Tp, Da]` for `obs`."""
        return act(self.policy, batch, deterministic=True)

    def _forward_exploration(
        self, batch: dict[str, Any], *, score: bool = True, **kwargs: Any
    ) -> dict[str, Tensor]:
        """Sampled chunks, their chains `[B, K'+1, Tp, Da]` and log-probabilities `[B, K']`.

        With `score=False` log-probabilities are not asked for, see `ChunkPolicy.sample`.
        """
        return act(self.policy, batch, deterministic=False, score=score)

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Tensor]:
        """Log-probabilities `[B]` of the transitions in the batch (differentiable).

        Observations come as they are (`obs`) or, where transitions share them, already encoded.
        """
        encoded = batch.get(ENCODED)
        if encoded is None:
            encoded = self.policy.encode(batch[Columns.OBS])
        log_probs = self.policy.log_prob(
            encoded, batch[CHAIN_PREV], batch[CHAIN_NEXT], batch[FT_INDEX]
        )
        return {LOG_PROBS: log_probs}

    def compute_values(self, batch: dict[str, Any], embeddings: Any = None) -> Tensor:
        """Values `[B]` of the observations."""
        return self.critic(batch[Columns.OBS]).float()

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
            components: Some of "actor", "actor_ft", "eta", "critic"; None for all.
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
        schedule = {name: np.asarray(getattr(self.policy, name)) for name in self.policy.scheduled}
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
        scheduled = self.policy.scheduled
        known = (*_PREFIXES.values(), *scheduled)
        if unknown := [k for k in state if not k.startswith(known)]:
            raise ValueError(
                f"state keys {sorted(unknown)}: expected keys that start with one of "
                f"{list(_PREFIXES.values())}, or {list(scheduled)}"
            )
        weights = {k: torch.as_tensor(np.array(v)) for k, v in state.items() if k in own}
        self.load_state_dict(weights, strict=False)
        for name in scheduled:
            if name in state:
                setattr(self.policy, name, state[name].item())


class DiffusionRLModule(ChunkRLModule):
    """A diffusion policy; `model_config` holds the fields of `DiffusionPolicyConfig`."""

    policy_kind = "diffusion"


class ExactDiffusionRLModule(ChunkRLModule):
    """Scored by its likelihood; `model_config` holds fields of `ExactDiffusionPolicyConfig`."""

    policy_kind = "exact_diffusion"


class GaussianRLModule(ChunkRLModule):
    """A Gaussian policy; `model_config` holds the fields of `GaussianPolicyConfig`."""

    policy_kind = "gaussian"


class GMMRLModule(ChunkRLModule):
    """A mixture of Gaussians; `model_config` holds the fields of `GMMPolicyConfig`."""

    policy_kind = "gmm"
