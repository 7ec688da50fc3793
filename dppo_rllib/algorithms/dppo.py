"""DPPO: PPO over the last denoising steps of a diffusion policy."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from jaxtyping import Float
from ray.rllib.algorithms.algorithm_config import NotProvided
from torch import Tensor

from dppo_rllib.algorithms.chunk_config import POSITIVE
from dppo_rllib.algorithms.diffusion_config import DiffusionConfig, check_fine_tuned_steps
from dppo_rllib.algorithms.ppo_algorithm import ChunkPPO
from dppo_rllib.algorithms.ppo_config import ChunkPPOConfig
from dppo_rllib.algorithms.ppo_loss import clip_ranges, denoising_discounts
from dppo_rllib.algorithms.schedules import Schedule, check_schedule, step_value_at, value_at
from dppo_rllib.checkpoints import PolicyCheckpoint
from dppo_rllib.modules.chunk_module import DiffusionRLModule
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.networks import EtaConfig


class DPPOConfig(ChunkPPOConfig, DiffusionConfig):
    """Configuration of DPPO. The defaults are the authors' for Gym (40 environments, 500 chunks).

    ```python
    config = (
        DPPOConfig()
        .environment("Hopper-v5")
        .env_runners(num_env_runners=2)
        .training(base_policy="results/RUN/policy", clip_param=0.01)
    )
    algo = config.build_algo()
    algo.train()
    ```
    """

    module_class = DiffusionRLModule
    base_kinds = ("diffusion",)

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class or DPPO)
        self.ft_denoising_steps: Schedule = 10
        self.gamma_denoising = 0.99
        self.clip_param_base = 0.01
        self.clip_param_rate = 3.0
        self.eta_lr = 1e-4
        self.eta_min_lr = 1e-4
        self.eta_lr_warmup_steps = 10
        self.eta_lr_cycle_steps = 1000
        self.eta_weight_decay = 0.0

    def training(
        self,
        *,
        ft_denoising_steps: Schedule = NotProvided,
        gamma_denoising: float = NotProvided,
        clip_param_base: float = NotProvided,
        clip_param_rate: float = NotProvided,
        eta_lr: float = NotProvided,
        eta_min_lr: float = NotProvided,
        eta_lr_warmup_steps: int = NotProvided,
        eta_lr_cycle_steps: int = NotProvided,
        eta_weight_decay: float = NotProvided,
        **kwargs: Any,
    ) -> DPPOConfig:
        """Sets what DPPO adds to the settings of `ChunkPPOConfig`, `DiffusionConfig` and RLlib.

        Args:
            ft_denoising_steps: `K'`, last sampler steps that are fine-tuned; a number, or
                `[[0, K'], [iteration, K'], …]` that falls.
            gamma_denoising: Discount of the advantage per denoising step still to go.
            clip_param_base: Clip range of the noisiest fine-tuned step; `clip_param` is that of
                the last.
            clip_param_rate: How fast the range grows between the two.
            eta_lr: Learning rate of a learned noise level after its warm-up.
            eta_min_lr: As `actor_min_lr`.
            eta_lr_warmup_steps: As `actor_lr_warmup_steps`.
            eta_lr_cycle_steps: As `actor_lr_cycle_steps`.
            eta_weight_decay: As `actor_weight_decay`.
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
        steps = step_value_at(self.ft_denoising_steps, 0)
        return super()._policy_fields() | {"ft_denoising_steps": steps}

    def policy_schedule(self, iteration: int) -> dict[str, Any]:
        """`K'` and the floor of the sampling noise in an iteration."""
        return {
            "ft_denoising_steps": step_value_at(self.ft_denoising_steps, iteration),
            "min_sampling_denoising_std": value_at(self.min_sampling_denoising_std, iteration),
        }

    def clip_ranges(self, chain_steps: int) -> Float[Tensor, " K_ft"]:
        """Clip range of each fine-tuned step, see `ppo_loss.clip_ranges`."""
        return clip_ranges(chain_steps, self.clip_param, self.clip_param_base, self.clip_param_rate)

    def step_discounts(self, chain_steps: int) -> Float[Tensor, " K_ft"]:
        """`gamma_denoising^k`, k steps before the last."""
        return denoising_discounts(chain_steps, self.gamma_denoising)

    def validate(self) -> None:
        """Checks all settings and how they fit together, before anything is built.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        check_schedule("ft_denoising_steps", self.ft_denoising_steps)
        self._validate_fine_tuned_steps()
        super().validate()
        positive = ("clip_param_base", "clip_param_rate", "eta_lr_cycle_steps")
        self._check_ranges(positive, POSITIVE)
        natural = ("eta_lr", "eta_min_lr", "eta_lr_warmup_steps", "eta_weight_decay")
        self._check_ranges(natural, 0)
        self._check_ranges(("gamma_denoising",), 0, 1)
        self._check_lr_schedule("eta_", "steps")
        if self.clip_param_base > self.clip_param:
            raise ValueError(
                f"clip_param_base={self.clip_param_base}: expected at most "
                f"clip_param={self.clip_param}"
            )
        eta = None if self.learned_eta is None else build_dataclass(EtaConfig, self.learned_eta)
        if self.entropy_coeff > 0 and (eta is None or not eta.learnable):
            raise ValueError(
                f"entropy_coeff={self.entropy_coeff}: rewards a learned noise level; set "
                "learned_eta, or entropy_coeff=0"
            )

    def _validate_fine_tuned_steps(self) -> None:
        schedule = self.ft_denoising_steps
        steps = [schedule] if isinstance(schedule, (int, float)) else [v for _, v in schedule]
        limit = self.ddim_steps or self.denoising_steps
        for value in steps:
            if value != int(value) or not 1 <= value <= limit:
                raise ValueError(
                    f"ft_denoising_steps={schedule}: expected whole numbers from 1 to the "
                    f"sampler's {limit} steps"
                )
        if steps != sorted(steps, reverse=True):
            raise ValueError(f"ft_denoising_steps={schedule}: expected numbers that do not rise")

    def _validate_base_policy(self, checkpoint: PolicyCheckpoint) -> None:
        super()._validate_base_policy(checkpoint)
        steps = step_value_at(self.ft_denoising_steps, 0)
        check_fine_tuned_steps(steps, checkpoint.config, self.base_policy)
        if (learned := getattr(checkpoint.config, "learned_eta", None)) is not None:
            self._validate_learned_eta(learned)

    def _validate_learned_eta(self, theirs: EtaConfig) -> None:
        if self.learned_eta is None:
            raise ValueError(
                f"learned_eta=None: base_policy={self.base_policy} has learned {theirs}; to keep "
                "it as it is, set learned_eta.learnable=False"
            )
        own = build_dataclass(EtaConfig, self.learned_eta)
        for field in fields(EtaConfig):
            ours, given = getattr(own, field.name), getattr(theirs, field.name)
            if field.name != "learnable" and ours != given:
                raise ValueError(
                    f"learned_eta.{field.name}={ours}: base_policy={self.base_policy} has learned "
                    f"its noise level with {field.name}={given}"
                )


class DPPO(ChunkPPO):
    """Diffusion Policy Policy Optimization (Ren et al. 2024, arXiv 2409.00588).

    Runners sample chunks and keep their denoising chains; learners run PPO over the last
    `ft_denoising_steps` steps.
    """

    @classmethod
    def get_default_config(cls) -> DPPOConfig:
        """`DPPOConfig()`."""
        return DPPOConfig()
