"""What describes a diffusion policy, whatever trains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided

from dppo_rllib.algorithms.chunk_config import ChunkConfig
from dppo_rllib.algorithms.schedules import Schedule, check_schedule, value_at
from dppo_rllib.modules.diffusion_policy import DENOISERS
from dppo_rllib.networks import EtaConfig

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


class DiffusionConfig(ChunkConfig):
    """The denoising of a policy; defaults are the authors' for Gym."""

    policy_kind = "diffusion"
    network_types = DENOISERS
    inherited = (*ChunkConfig.inherited, "denoising_steps", "predict_epsilon")

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class)
        self.denoising_steps = 20
        self.ddim_steps: int | None = None
        self.eta = 1.0
        self.learned_eta: dict[str, Any] | None = None
        self.predict_epsilon = True
        self.denoised_clip_value: float | None = 1.0
        self.eps_clip_value: float | None = None
        self.randn_clip_value = 3.0
        self.final_action_clip_value: float | None = None
        self.min_sampling_denoising_std: Schedule = 0.1
        self.min_logprob_denoising_std = 0.1

    def training(
        self,
        *,
        denoising_steps: int = NotProvided,
        ddim_steps: int | None = NotProvided,
        eta: float = NotProvided,
        learned_eta: EtaConfig | Mapping[str, Any] | None = NotProvided,
        predict_epsilon: bool = NotProvided,
        denoised_clip_value: float | None = NotProvided,
        eps_clip_value: float | None = NotProvided,
        randn_clip_value: float = NotProvided,
        final_action_clip_value: float | None = NotProvided,
        min_sampling_denoising_std: Schedule = NotProvided,
        min_logprob_denoising_std: float = NotProvided,
        **kwargs: Any,
    ) -> DiffusionConfig:
        """Sets how chunks are denoised.

        Args:
            denoising_steps: `K` of the forward process.
            ddim_steps: Sampler steps of DDIM, None for DDPM.
            eta: DDIM's noise level when exploring.
            learned_eta: Learns that noise level when fine-tuning; None keeps it constant.
            predict_epsilon: The network predicts the noise, otherwise the clean chunk.
            denoised_clip_value: Bound on the predicted clean chunk.
            eps_clip_value: Bound on eps (DDIM).
            randn_clip_value: Bound on sampling noise in standard deviations.
            final_action_clip_value: Bound on sampled chunks.
            min_sampling_denoising_std: Floor of the sampling noise; a number, or
                `[[0, std], [iteration, std], …]`, interpolated.
            min_logprob_denoising_std: Floor of the standard deviation in log-probabilities.
            kwargs: Other settings.

        Raises:
            TypeError: A setting is unknown.
        """
        own = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        super().training(**kwargs)
        self._set(own)
        return self

    def _policy_fields(self) -> dict[str, Any]:
        return super()._policy_fields() | {
            "min_sampling_denoising_std": value_at(self.min_sampling_denoising_std, 0),
            "min_logprob_denoising_std": self.min_logprob_denoising_std,
            "denoising": {name: getattr(self, name) for name in DENOISING_FIELDS},
            "learned_eta": None if self.learned_eta is None else dict(self.learned_eta),
        }

    def _take_over(self, policy: Any) -> None:
        super()._take_over(policy)
        for name, value in asdict(policy.denoising).items():
            setattr(self, name, value)
        self._set({"learned_eta": policy.learned_eta})

    def validate(self) -> None:
        """Checks the denoising, and what all algorithms have.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        schedule = self.min_sampling_denoising_std
        check_schedule("min_sampling_denoising_std", schedule)
        values = [schedule] if isinstance(schedule, (int, float)) else [v for _, v in schedule]
        if min(values) <= 0:
            raise ValueError(f"min_sampling_denoising_std={schedule}: expected positive numbers")
        super().validate()


def check_fine_tuned_steps(steps: int, policy: Any, base_policy: str | None) -> None:
    """Raises ValueError if training would go on with another number of fine-tuned steps."""
    if policy.fine_tuned and policy.ft_denoising_steps != steps:
        raise ValueError(
            f"ft_denoising_steps={steps}: base_policy={base_policy} was made with "
            f"ft_denoising_steps={policy.ft_denoising_steps}"
        )
