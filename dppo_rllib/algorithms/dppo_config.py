"""The configuration of DPPO."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from dppo_rllib.algorithms.diffusion_config import CHUNK_FIELDS, POSITIVE, DiffusionConfig
from dppo_rllib.algorithms.dppo_learner import DPPOLearner
from dppo_rllib.algorithms.schedules import Schedule, check_schedule, step_value_at
from dppo_rllib.checkpoints import PolicyCheckpoint, load_policy
from dppo_rllib.modules.diffusion_module import DiffusionRLModule
from dppo_rllib.modules.policy import build_dataclass
from dppo_rllib.networks import CriticConfig

# What describes the pre-trained policy and cannot be chosen anew when fine-tuning it.
_INHERITED = ("cond_steps", "horizon_steps", "denoising_steps", "predict_epsilon", "network")


class DPPOConfig(DiffusionConfig):
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

    def __init__(self, algo_class: type | None = None):
        from dppo_rllib.algorithms.dppo import DPPO  # the algorithm needs its configuration

        super().__init__(algo_class=algo_class or DPPO)
        self.base_policy: str | None = None
        self.critic: dict[str, Any] = asdict(CriticConfig())
        self.ft_denoising_steps: Schedule = 10
        self.reset_at_iteration = False
        # Objective.
        self.gamma = 0.99
        self.lambda_ = 0.95
        self.gamma_denoising = 0.99
        self.clip_param = 0.01
        self.clip_param_base = 0.01
        self.clip_param_rate = 3.0
        self.vf_loss_coeff = 0.5
        self.vf_clip_param: float | None = None
        self.bc_loss_coeff = 0.0
        self.target_kl: float | None = 1.0
        self.normalize_advantages = True
        self.advantage_clip_lower_quantile = 0.0
        self.advantage_clip_upper_quantile = 1.0
        self.reward_scale_running = True
        self.reward_scale_const = 1.0
        self.reward_scale_gamma: float | None = None
        self.reward_clip = 10.0
        # Optimization.
        self.num_epochs = 5
        self.minibatch_size = 50_000
        self.microbatch_size: int | None = None
        self.n_critic_warmup_itr = 0
        self.grad_clip = None
        self.actor_lr = 1e-4
        self.actor_min_lr = 1e-4
        self.actor_lr_warmup_steps = 10
        self.actor_lr_cycle_steps = 1000
        self.actor_weight_decay = 0.0
        self.critic_lr = 1e-3
        self.critic_min_lr = 1e-3
        self.critic_lr_warmup_steps = 10
        self.critic_lr_cycle_steps = 1000
        self.critic_weight_decay = 0.0
        self.num_env_runners = 2
        self.num_envs_per_env_runner = 20
        self.rollout_fragment_length = 500

    def training(
        self,
        *,
        base_policy: str | os.PathLike[str] | None = NotProvided,
        critic: CriticConfig | Mapping[str, Any] = NotProvided,
        ft_denoising_steps: Schedule = NotProvided,
        reset_at_iteration: bool = NotProvided,
        lambda_: float = NotProvided,
        gamma_denoising: float = NotProvided,
        clip_param: float = NotProvided,
        clip_param_base: float = NotProvided,
        clip_param_rate: float = NotProvided,
        vf_loss_coeff: float = NotProvided,
        vf_clip_param: float | None = NotProvided,
        bc_loss_coeff: float = NotProvided,
        target_kl: float | None = NotProvided,
        normalize_advantages: bool = NotProvided,
        advantage_clip_lower_quantile: float = NotProvided,
        advantage_clip_upper_quantile: float = NotProvided,
        reward_scale_running: bool = NotProvided,
        reward_scale_const: float = NotProvided,
        reward_scale_gamma: float | None = NotProvided,
        reward_clip: float = NotProvided,
        microbatch_size: int | None = NotProvided,
        n_critic_warmup_itr: int = NotProvided,
        actor_lr: float = NotProvided,
        actor_min_lr: float = NotProvided,
        actor_lr_warmup_steps: int = NotProvided,
        actor_lr_cycle_steps: int = NotProvided,
        actor_weight_decay: float = NotProvided,
        critic_lr: float = NotProvided,
        critic_min_lr: float = NotProvided,
        critic_lr_warmup_steps: int = NotProvided,
        critic_lr_cycle_steps: int = NotProvided,
        critic_weight_decay: float = NotProvided,
        **kwargs: Any,
    ) -> DPPOConfig:
        """Sets what DPPO adds to the settings of `DiffusionConfig` and of RLlib.

        RLlib's own are accepted as well: `gamma`, `num_epochs`, `minibatch_size` (pairs of chunk
        step and denoising step, over all learners), `grad_clip` (on the actor's gradient norm).

        Args:
            base_policy: The policy to fine-tune: a directory of `save_policy` or the checkpoint of
                an algorithm. Fields that describe it, its normalisation, and, if unset, the
                environment are taken over; other arguments of the same call come after.
            critic: Architecture of the value network.
            ft_denoising_steps: `K'`, last sampler steps that are fine-tuned; a number, or
                `[[0, K'], [iteration, K'], …]` that falls.
            reset_at_iteration: Restart all episodes at the start of each iteration.
            lambda_: GAE's lambda, per chunk.
            gamma_denoising: Discount of the advantage per denoising step still to go.
            clip_param: PPO's clip range of the last denoising step.
            clip_param_base: Clip range of the noisiest fine-tuned step.
            clip_param_rate: How fast the range grows between the two.
            vf_loss_coeff: Weight of the value loss.
            vf_clip_param: Clip range of the value loss, None for no clipping.
            bc_loss_coeff: Weight of the log-likelihood of the base policy's chains.
            target_kl: Stops the epochs when a minibatch's KL exceeds it; None never stops.
            normalize_advantages: Standardise advantages in each minibatch.
            advantage_clip_lower_quantile: Clamp advantages below this quantile.
            advantage_clip_upper_quantile: Clamp advantages above this quantile.
            reward_scale_running: Divide rewards by the running deviation of their sums.
            reward_scale_const: Constant factor on (scaled) rewards.
            reward_scale_gamma: Discount of these sums; None takes `gamma`.
            reward_clip: Bound on scaled rewards.
            microbatch_size: Pairs per forward and backward pass; None chooses by device. It does
                not change the result.
            n_critic_warmup_itr: First iterations, in which only the critic learns.
            actor_lr: Learning rate of the actor after its warm-up.
            actor_min_lr: Learning rate at its start and at the end of a cycle.
            actor_lr_warmup_steps: Iterations of warm-up.
            actor_lr_cycle_steps: Iterations of a cosine cycle.
            actor_weight_decay: Of AdamW.
            critic_lr: As `actor_lr`, for the critic.
            critic_min_lr: As `actor_min_lr`.
            critic_lr_warmup_steps: As `actor_lr_warmup_steps`.
            critic_lr_cycle_steps: As `actor_lr_cycle_steps`.
            critic_weight_decay: As `actor_weight_decay`.
            kwargs: Settings of `DiffusionConfig.training` and of RLlib.

        Raises:
            FileNotFoundError: `base_policy` does not exist.
            TypeError: A setting is unknown.
        """
        own = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        if (base := own.pop("base_policy")) is not NotProvided:
            self._inherit(base)
        super().training(**kwargs)
        self._set(own)
        return self

    def _inherit(self, base_policy: str | os.PathLike[str] | None) -> None:
        """Takes over what defines a policy."""
        path = None if base_policy is None else os.path.abspath(base_policy)
        if path == self.base_policy:
            return
        if path is None:
            self.base_policy = None
            return
        checkpoint = load_policy(path)
        policy = checkpoint.config
        for name in CHUNK_FIELDS:
            setattr(self, name, getattr(policy, name))
        for name, value in asdict(policy.denoising).items():
            setattr(self, name, value)
        self.network = asdict(policy.network)
        if policy.ft_denoising_steps > 0:
            self.ft_denoising_steps = policy.ft_denoising_steps
        if checkpoint.critic is not None:
            self.critic = dict(checkpoint.critic)
        normalization = checkpoint.normalization
        self.normalization = normalization.to_dict() if normalization else None
        self.task = self.task or checkpoint.task
        if self.env is None and checkpoint.env is not None:
            self.environment(checkpoint.env["id"], env_config=checkpoint.env["config"])
            self.max_episode_steps = checkpoint.env["max_episode_steps"]
        self.base_policy = path

    def update_from_dict(self, config_dict: dict[str, Any]) -> DPPOConfig:
        """As `DiffusionConfig`; what `base_policy` brings along yields to the other keys."""
        if config_dict.get("base_policy") is None:
            return super().update_from_dict(config_dict)
        self._inherit(config_dict["base_policy"])
        return super().update_from_dict({**config_dict, "base_policy": self.base_policy})

    def _policy_fields(self) -> dict[str, Any]:
        steps = step_value_at(self.ft_denoising_steps, 0)
        return super()._policy_fields() | {"ft_denoising_steps": steps}

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """`DiffusionRLModule` with these settings."""
        model_config = self._policy_fields() | {"critic": dict(self.critic)}
        return RLModuleSpec(module_class=DiffusionRLModule, model_config=model_config)

    def get_default_learner_class(self) -> type[DPPOLearner]:
        """`DPPOLearner`."""
        return DPPOLearner

    def validate(self) -> None:
        """Checks all settings and how they fit together, before anything is built.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        super().validate()
        if not self.explore and not self.in_evaluation:
            raise ValueError(
                "explore=False: expected True; DPPO learns from exploring, and evaluation reports "
                "both ways of acting"
            )
        check_schedule("ft_denoising_steps", self.ft_denoising_steps)
        self._validate_fine_tuned_steps()
        self.policy_config(obs_dim=1, action_dim=1)
        build_dataclass(CriticConfig, dict(self.critic))
        self._validate_ranges()
        self._check_unused(
            {
                "lr": "actor_lr and critic_lr",
                "train_batch_size": "rollout_fragment_length and num_envs_per_env_runner",
                "_train_batch_size_per_learner": "rollout_fragment_length",
                "shuffle_batch_per_epoch": "nothing: pairs are always shuffled",
                "torch_compile_learner": "nothing: it brings nothing here (docs/architecture.md)",
                "grad_clip_by": "nothing: gradients are clipped by the norm of the actor's",
                "clip_rewards": "reward_clip, which bounds scaled rewards",
                "min_time_s_per_iteration": "nothing: an iteration is one training step",
                "min_train_timesteps_per_iteration": "rollout_fragment_length",
                "min_sample_timesteps_per_iteration": "rollout_fragment_length",
            }
        )
        if self.base_policy is not None:
            self._validate_base_policy(load_policy(self.base_policy))

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

    def _validate_ranges(self) -> None:
        positive = (
            *("num_epochs", "minibatch_size", "clip_param", "clip_param_base", "clip_param_rate"),
            *("actor_lr_cycle_steps", "critic_lr_cycle_steps", "reward_clip", "reward_scale_const"),
            *("grad_clip", "target_kl", "vf_clip_param", "microbatch_size", "learner_threads"),
            *("max_episode_steps", "rollout_fragment_length"),
        )
        natural = (
            *("actor_lr", "actor_min_lr", "critic_lr", "critic_min_lr", "vf_loss_coeff"),
            *("bc_loss_coeff", "n_critic_warmup_itr", "actor_lr_warmup_steps"),
            *("critic_lr_warmup_steps", "actor_weight_decay", "critic_weight_decay"),
        )
        unit = ("gamma", "lambda_", "gamma_denoising", "reward_scale_gamma")
        quantiles = ("advantage_clip_lower_quantile", "advantage_clip_upper_quantile")
        self._check_whole(
            (
                *("num_epochs", "minibatch_size", "microbatch_size", "learner_threads"),
                *("max_episode_steps", "n_critic_warmup_itr", "rollout_fragment_length"),
            )
        )
        self._check_ranges(positive, POSITIVE)
        self._check_ranges(natural, 0)
        self._check_ranges((*unit, *quantiles), 0, 1)
        for prefix in ("actor_", "critic_"):
            self._check_lr_schedule(prefix, "steps")
        if self.clip_param_base > self.clip_param:
            raise ValueError(
                f"clip_param_base={self.clip_param_base}: expected at most "
                f"clip_param={self.clip_param}"
            )
        if self.advantage_clip_lower_quantile >= self.advantage_clip_upper_quantile:
            raise ValueError(
                f"advantage_clip_lower_quantile={self.advantage_clip_lower_quantile}: expected "
                f"less than advantage_clip_upper_quantile={self.advantage_clip_upper_quantile}"
            )
        if self.num_learners > self.num_envs_per_env_runner:
            raise ValueError(
                f"num_learners={self.num_learners}: expected at most num_envs_per_env_runner="
                f"{self.num_envs_per_env_runner}, so that each runner has data for each learner"
            )

    def _validate_base_policy(self, checkpoint: PolicyCheckpoint) -> None:
        policy = checkpoint.config
        own = self.policy_config(policy.obs_dim, policy.action_dim)
        theirs = {**vars(policy), **vars(policy.denoising)}
        ours = {**vars(own), **vars(own.denoising)}
        fields: tuple[str, ...] = _INHERITED
        if policy.ft_denoising_steps > 0:
            fields = (*fields, "ft_denoising_steps")
        for name in fields:
            if ours[name] != theirs[name]:
                raise ValueError(
                    f"{name}={ours[name]}: base_policy={self.base_policy} was made with "
                    f"{name}={theirs[name]}"
                )
        if checkpoint.critic is not None:
            trained = build_dataclass(CriticConfig, checkpoint.critic)
            if build_dataclass(CriticConfig, dict(self.critic)) != trained:
                raise ValueError(
                    f"critic={self.critic}: base_policy={self.base_policy} has one with "
                    f"{checkpoint.critic}"
                )
        kept = checkpoint.normalization
        if self.normalization != (kept.to_dict() if kept else None):
            raise ValueError(
                f"normalization: differs from that of base_policy={self.base_policy}, "
                "whose networks know no other"
            )
