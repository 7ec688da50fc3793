"""PPO on the exact likelihood of chunks: the variant that the paper compares DPPO with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided

from dppo_rllib.algorithms.diffusion_config import DiffusionConfig, check_fine_tuned_steps
from dppo_rllib.algorithms.ppo_algorithm import ChunkPPO
from dppo_rllib.algorithms.ppo_config import ChunkPPOConfig
from dppo_rllib.algorithms.schedules import value_at
from dppo_rllib.checkpoints import PolicyCheckpoint
from dppo_rllib.denoising.exact_likelihood import ExactLikelihoodConfig
from dppo_rllib.modules.chunk_module import ExactDiffusionRLModule


class ExactDPPOConfig(ChunkPPOConfig, DiffusionConfig):
    """Configuration of `ExactDPPO`; the defaults are the authors' for Gym.

    One training sample is one chunk step: `minibatch_size` counts these.
    """

    policy_kind = "exact_diffusion"
    module_class = ExactDiffusionRLModule
    base_kinds = ("diffusion", "exact_diffusion")

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or ExactDPPO)
        self.ft_denoising_steps = 10
        self.likelihood: dict[str, Any] = self.stored("likelihood", {})
        self.minibatch_size = 5000
        self.actor_lr = 1e-5
        self.actor_min_lr = 1e-5

    def training(
        self,
        *,
        ft_denoising_steps: int = NotProvided,
        likelihood: ExactLikelihoodConfig | Mapping[str, Any] = NotProvided,
        **kwargs: Any,
    ) -> ExactDPPOConfig:
        """Sets what this variant adds to `ChunkPPOConfig`, `DiffusionConfig` and RLlib.

        Args:
            ft_denoising_steps: `K'`, last sampler steps that are fine-tuned.
            likelihood: How the likelihood of a chunk is computed.
            kwargs: Other settings; `base_policy` comes first, what is given beside it after.

        Raises:
            FileNotFoundError: `base_policy` does not exist.
            TypeError: A setting is unknown.
        """
        own = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        super().training(**kwargs)
        self._set(own)
        return self

    def _take_over(self, policy: Any) -> None:
        super()._take_over(policy)
        if policy.fine_tuned:
            self.ft_denoising_steps = policy.ft_denoising_steps

    def _policy_fields(self) -> dict[str, Any]:
        return super()._policy_fields() | {
            "ft_denoising_steps": self.ft_denoising_steps,
            "likelihood": dict(self.likelihood),
        }

    def policy_schedule(self, iteration: int) -> dict[str, Any]:
        """The floor of the sampling noise in an iteration."""
        schedule = self.min_sampling_denoising_std
        return {"min_sampling_denoising_std": value_at(schedule, iteration)}

    def validate(self) -> None:
        """Checks all settings and how they fit together, before anything is built.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        self._check_whole(("ft_denoising_steps",))
        limit = self.ddim_steps or self.denoising_steps
        if not 1 <= self.ft_denoising_steps <= limit:
            raise ValueError(
                f"ft_denoising_steps={self.ft_denoising_steps}: expected 1 to the sampler's "
                f"{limit} steps"
            )
        if self.learned_eta is not None:
            raise ValueError(
                f"learned_eta={self.learned_eta}: the likelihood of a chunk does not depend on "
                "it; expected None"
            )
        if self.entropy_coeff > 0:
            raise ValueError(
                f"entropy_coeff={self.entropy_coeff}: not defined for this policy; expected 0"
            )
        if self.mixed_precision:
            raise ValueError("mixed_precision=True: likelihoods need float32; expected False")
        super().validate()

    def _validate_base_policy(self, checkpoint: PolicyCheckpoint) -> None:
        super()._validate_base_policy(checkpoint)
        check_fine_tuned_steps(self.ft_denoising_steps, checkpoint.config, self.base_policy)


class ExactDPPO(ChunkPPO):
    """PPO on the log-likelihood of chunks by the probability-flow ODE (DPPO, App. B)."""

    @classmethod
    def get_default_config(cls) -> ExactDPPOConfig:
        """`ExactDPPOConfig()`."""
        return ExactDPPOConfig()
