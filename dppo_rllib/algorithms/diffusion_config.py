"""Settings that every algorithm on diffusion policies shares."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any

from ray.rllib.algorithms.algorithm_config import AlgorithmConfig, NotProvided

from dppo_rllib.algorithms.schedules import Schedule, check_schedule, value_at
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.networks import DiffusionMLPConfig
from dppo_rllib.rollouts.env_runner import ChunkEnvRunner

DENOISING_FIELDS = (
    "denoising_steps",
    "ddim_steps",
    "eta",
    "predict_epsilon",
    "denoised_clip_value",
    "eps_clip_value",
    "randn_clip_value",
    "final_action_clip_value",
)
CHUNK_FIELDS = ("cond_steps", "horizon_steps", "act_steps")


class DiffusionConfig(AlgorithmConfig):
    """What defines a diffusion policy, how it meets its environment, and RLlib's plumbing."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class)
        self.task: str | None = None
        self.normalization: dict[str, Any] | None = None
        self.cond_steps = 1
        self.horizon_steps = 4
        self.act_steps = 4
        self.network: dict[str, Any] = asdict(DiffusionMLPConfig())
        self.denoising_steps = 20
        self.ddim_steps: int | None = None
        self.eta = 1.0
        self.predict_epsilon = True
        self.denoised_clip_value: float | None = 1.0
        self.eps_clip_value: float | None = None
        self.randn_clip_value = 3.0
        self.final_action_clip_value: float | None = None
        self.min_sampling_denoising_std: Schedule = 0.1
        self.min_logprob_denoising_std = 0.1
        self.max_episode_steps: int | None = None
        self.learner_threads: int | None = None
        # RLlib settings whose defaults do not fit.
        self.env_runner_cls = ChunkEnvRunner
        self.explore = True
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
        network: DiffusionMLPConfig | Mapping[str, Any] = NotProvided,
        denoising_steps: int = NotProvided,
        ddim_steps: int | None = NotProvided,
        eta: float = NotProvided,
        predict_epsilon: bool = NotProvided,
        denoised_clip_value: float | None = NotProvided,
        eps_clip_value: float | None = NotProvided,
        randn_clip_value: float = NotProvided,
        final_action_clip_value: float | None = NotProvided,
        min_sampling_denoising_std: Schedule = NotProvided,
        min_logprob_denoising_std: float = NotProvided,
        max_episode_steps: int | None = NotProvided,
        learner_threads: int | None = NotProvided,
        **kwargs: Any,
    ) -> DiffusionConfig:
        """Sets the policy and its environment.

        Args:
            task: Name of the task, kept in checkpoints.
            normalization: Min-max statistics of observations and actions; None uses observations
                as they are and spreads actions over the bounds of the action space.
            cond_steps: `To`, observations the policy sees.
            horizon_steps: `Tp`, actions it predicts.
            act_steps: `Ta <= Tp`, actions executed per chunk.
            network: Architecture of the denoiser.
            denoising_steps: `K` of the forward process.
            ddim_steps: Sampler steps of DDIM, None for DDPM.
            eta: DDIM's noise level when exploring.
            predict_epsilon: The network predicts the noise, otherwise the clean chunk.
            denoised_clip_value: Bound on the predicted clean chunk.
            eps_clip_value: Bound on eps (DDIM).
            randn_clip_value: Bound on sampling noise in standard deviations.
            final_action_clip_value: Bound on sampled chunks.
            min_sampling_denoising_std: Floor of the sampling noise; a number, or
                `[[0, std], [iteration, std], …]`, interpolated.
            min_logprob_denoising_std: Floor of the standard deviation in log-probabilities.
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
        """Stores the settings that were given; architectures and statistics as dictionaries."""
        for name, value in settings.items():
            if value is NotProvided:
                continue
            if isinstance(value, Normalization):
                value = value.to_dict()
            elif is_dataclass(value) and not isinstance(value, type):
                value = asdict(value)
            setattr(self, name, value)

    def update_from_dict(self, config_dict: dict[str, Any]) -> DiffusionConfig:
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
        return super().update_from_dict(config_dict)

    def policy_config(self, obs_dim: int, action_dim: int) -> PolicyConfig:
        """The policy that these settings describe, at the start of training."""
        return PolicyConfig.from_dict(
            {"obs_dim": obs_dim, "action_dim": action_dim, **self._policy_fields()}
        )

    def _policy_fields(self) -> dict[str, Any]:
        fields = {name: getattr(self, name) for name in CHUNK_FIELDS}
        fields["min_sampling_denoising_std"] = value_at(self.min_sampling_denoising_std, 0)
        fields["min_logprob_denoising_std"] = self.min_logprob_denoising_std
        fields["denoising"] = {name: getattr(self, name) for name in DENOISING_FIELDS}
        return fields | {"network": dict(self.network)}

    def validate(self) -> None:
        """Checks what both algorithms have.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        super().validate()
        schedule = self.min_sampling_denoising_std
        check_schedule("min_sampling_denoising_std", schedule)
        values = [schedule] if isinstance(schedule, (int, float)) else [v for _, v in schedule]
        if min(values) <= 0:
            raise ValueError(f"min_sampling_denoising_std={schedule}: expected positive numbers")

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
