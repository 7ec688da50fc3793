"""Settings that every algorithm on policies that act in chunks shares."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided

from dppo_rllib.denoising.exact_likelihood import ExactLikelihoodConfig
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.config_dicts import (
    NetworkTypes,
    build_dataclass,
    complete,
    complete_network,
)
from dppo_rllib.modules.policies import policy_config_from_dict
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.networks import (
    CriticConfig,
    DiffusionMLPConfig,
    EtaConfig,
    UNet1DConfig,
    VisionConfig,
)
from dppo_rllib.networks.gaussian import StdConfig
from dppo_rllib.rollouts.env_runner import ChunkEnvRunner

NetworkConfig = DiffusionMLPConfig | UNet1DConfig | StdConfig  # a denoiser's, or any other's
CHUNK_FIELDS = ("cond_steps", "horizon_steps", "act_steps")
# Settings that are dictionaries of a dataclass's fields, of an algorithm that has them.
DESCRIBED: dict[str, Any] = {
    "vision": VisionConfig,
    "critic": CriticConfig,
    "learned_eta": EtaConfig,
    "likelihood": ExactLikelihoodConfig,
}
_MAY_BE_NONE = ("vision", "learned_eta", "normalization")


class ChunkConfig(AlgorithmConfig):
    """What defines a policy, how it meets its environment, and RLlib's plumbing.

    Attributes:
        policy_kind: Which of `modules.policies.KINDS` is trained.
        network_types: Architectures that its actor can have.
        network_defaults: Where its architecture's defaults differ from their dataclass's.
        inherited: What describes a trained policy and cannot be chosen anew.
    """

    policy_kind: str
    network_types: NetworkTypes
    network_defaults: ClassVar[Mapping[str, Any]] = {}
    inherited: tuple[str, ...] = ("cond_steps", "horizon_steps", "vision", "network")

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class)
        self.task: str | None = None
        self.normalization: dict[str, Any] | None = None
        self.cond_steps = 1
        self.horizon_steps = 4
        self.act_steps = 4
        self.network: dict[str, Any] = self.stored("network", {})
        self.vision: dict[str, Any] | None = None
        self.mixed_precision = False
        self.max_episode_steps: int | None = None
        self.learner_threads: int | None = None
        # RLlib settings whose defaults do not fit.
        self.env_runner_cls = ChunkEnvRunner
        # Where an environment has none of its own, they are stepped one after the other.
        self.gym_env_vectorize_mode = gymnasium.VectorizeMode.VECTOR_ENTRY_POINT.value
        self.explore = True
        self.add_default_connectors_to_learner_pipeline = False  # trajectories need no connectors
        self.sample_timeout_s = None  # 60 s silently drops long rollouts
        self.evaluation_sample_timeout_s = None
        self.max_requests_in_flight_per_env_runner = 8
        self.delay_between_env_runner_restarts_s = 1.0
        self._dont_auto_sync_env_runner_states = True
        self.evaluation(evaluation_config=AlgorithmConfig.overrides(explore=False))

    def training(
        self,
        *,
        task: str | None = NotProvided,
        normalization: Normalization | Mapping[str, Any] | None = NotProvided,
        cond_steps: int = NotProvided,
        horizon_steps: int = NotProvided,
        act_steps: int = NotProvided,
        network: NetworkConfig | Mapping[str, Any] = NotProvided,
        vision: VisionConfig | Mapping[str, Any] | None = NotProvided,
        mixed_precision: bool = NotProvided,
        max_episode_steps: int | None = NotProvided,
        learner_threads: int | None = NotProvided,
        **kwargs: Any,
    ) -> ChunkConfig:
        """Sets the policy and its environment.

        Args:
            task: Name of the task, kept in checkpoints.
            normalization: Min-max statistics of observations and actions; None uses observations
                as they are and spreads actions over the bounds of the action space.
            cond_steps: `To`, observations the policy sees.
            horizon_steps: `Tp`, actions it predicts.
            act_steps: `Ta <= Tp`, actions executed per chunk.
            network: Architecture of the actor: a configuration, or its fields and `"type"`.
            vision: How pictures are encoded, for environments that show some; `{}` for the
                defaults of `VisionConfig`.
            mixed_precision: Networks compute in bfloat16 (weights, chains and likelihoods stay
                float32), for runners and learners alike.
            max_episode_steps: Cuts episodes; None keeps the environment's own limit.
            learner_threads: CPU threads of each learner; None takes the CPUs it reserves. More
                pay off where runners, which wait meanwhile, share its machine.
            kwargs: RLlib's training settings.

        Raises:
            TypeError: A setting is unknown.
        """
        own = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        super().training(**kwargs)
        self._set(own)
        return self

    def _set(self, settings: dict[str, Any]) -> None:
        """Keeps the settings that were given."""
        for name, value in settings.items():
            if value is not NotProvided:
                setattr(self, name, self.stored(name, value))

    def stored(self, name: str, value: Any) -> Any:
        """A setting as it is kept: architectures and statistics as complete dictionaries.

        Raises:
            ValueError: It is not what the setting describes, or has unknown fields.
        """
        if value is None and name in _MAY_BE_NONE:
            return None
        if name == "network":
            return complete_network(value, self.network_types, self.network_defaults)
        if name in DESCRIBED:
            return complete(DESCRIBED[name], value, name)
        return value.to_dict() if isinstance(value, Normalization) else value

    def describing(self, name: str, fields: Mapping[str, Any]) -> Any:
        """The dataclass that a setting which is a dictionary holds the fields of."""
        return self.network_types[fields["type"]][0] if name == "network" else DESCRIBED[name]

    def update_from_dict(self, config_dict: dict[str, Any]) -> ChunkConfig:
        """RLlib's update, but unknown keys are an error (a typo in a search space, say).

        Raises:
            ValueError: A key is not a setting of the algorithm.
        """
        known = set(self.to_dict()) | set(vars(self)) | {"lambda", "evaluation_config"}
        for key in config_dict:
            if key not in known and not key.startswith("__"):
                close = difflib.get_close_matches(key, known, n=3)
                raise ValueError(
                    f"{key}={config_dict[key]!r}: not a setting of {type(self).__name__}"
                    + (f"; did you mean {' or '.join(close)}?" if close else "")
                )
        stored = {key: self.stored(key, value) for key, value in config_dict.items()}
        return super().update_from_dict(stored)

    def policy_config(
        self, obs_dim: int, action_dim: int, image_shape: tuple[int, int, int] | None = None
    ) -> PolicyConfig:
        """The policy that these settings describe, at the start of training.

        Raises:
            ValueError: They contradict each other or the shapes.
        """
        shapes = {"obs_dim": obs_dim, "action_dim": action_dim, "image_shape": image_shape}
        return policy_config_from_dict(shapes | self._policy_fields())

    def _policy_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {name: getattr(self, name) for name in CHUNK_FIELDS}
        vision = None if self.vision is None else dict(self.vision)
        return fields | {"kind": self.policy_kind, "network": dict(self.network), "vision": vision}

    def _take_over(self, policy: PolicyConfig) -> None:
        """Sets what describes a policy that training goes on with."""
        for name in CHUNK_FIELDS:
            setattr(self, name, getattr(policy, name))
        self._set({"network": policy.network, "vision": policy.vision})

    @property
    def img_cond_steps(self) -> int:
        """`Ti`, pictures of a history."""
        return 1 if self.vision is None else self.vision["img_cond_steps"]

    def validate(self) -> None:
        """Checks what all algorithms have.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        super().validate()
        # Of the environment only what does not depend on it is known here.
        pictures = None
        if self.vision is not None:
            pictures = (build_dataclass(VisionConfig, self.vision).num_cameras, 96, 96)
        self._try_networks(self.policy_config(obs_dim=1, action_dim=1, image_shape=pictures))
        self._check_whole(("learner_threads", "max_episode_steps"))
        self._check_ranges(("learner_threads", "max_episode_steps"), POSITIVE)

    def _try_networks(self, policy: PolicyConfig) -> None:
        """Raises ValueError unless the policy's networks can be built."""
        with torch.device("meta"):  # shapes alone: nothing is allocated or drawn
            policy.build_network()

    def _check_ranges(self, names: tuple[str, ...], low: float, high: float = float("inf")) -> None:
        """Raises ValueError unless each setting is None or within its bounds."""
        expected = f"a number from {low} to {high}" if low == 0 else "a positive number"
        for name in names:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name}={value}: expected {expected}")

    def _check_whole(self, names: tuple[str, ...]) -> None:
        """Raises ValueError unless each setting is None or a whole number."""
        for name in names:
            value = getattr(self, name)
            if value is not None and not isinstance(value, int):
                raise ValueError(f"{name}={value!r}: expected a whole number")

    def _check_lr_schedule(self, prefix: str, unit: str) -> None:
        """Raises ValueError unless a learning rate's warm-up fits into its cycle."""
        warmup, cycle = f"{prefix}lr_warmup_{unit}", f"{prefix}lr_cycle_{unit}"
        low, high = f"{prefix}min_lr", f"{prefix}lr"
        for name, limit, strict in ((warmup, cycle, True), (low, high, False)):
            value, bound = getattr(self, name), getattr(self, limit)
            if value > bound or (strict and value == bound):
                raise ValueError(
                    f"{name}={value}: expected {'less than' if strict else 'at most'} "
                    f"{limit}={bound}"
                )

    def _check_unused(self, replaced: Mapping[str, str]) -> None:
        """Settings of RLlib that the algorithm does not read must not look as if it did."""
        defaults = AlgorithmConfig()
        for name, instead in replaced.items():
            value = getattr(self, name)
            if value != getattr(defaults, name):
                raise ValueError(
                    f"{name}={value}: not used by {type(self).__name__}; set {instead}"
                )
        if self.is_multi_agent:
            raise ValueError("policies: one agent is trained; multi-agent setups do not fit")


POSITIVE = 1e-300  # lower bound of what must be greater than zero
