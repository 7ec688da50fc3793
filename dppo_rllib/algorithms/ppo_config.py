"""Settings of PPO on policies that act in chunks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import torch
from jaxtyping import Float
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from torch import Tensor

from dppo_rllib.algorithms.chunk_config import POSITIVE, ChunkConfig
from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner
from dppo_rllib.checkpoints import PolicyCheckpoint, StoragePath, load_policy
from dppo_rllib.modules.chunk_module import ChunkRLModule
from dppo_rllib.modules.config_dicts import build_dataclass
from dppo_rllib.modules.policy import PolicyConfig
from dppo_rllib.networks import Critic, CriticConfig


class ChunkPPOConfig(ChunkConfig):
    """PPO over the steps of a policy's chains; a base for what trains a particular policy.

    Attributes:
        module_class: The policy with a critic as RLlib sees it.
        base_kinds: Kinds of policies that training can start from.
    """

    module_class: type[ChunkRLModule]
    base_kinds: tuple[str, ...]

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class)
        self.base_policy: str | None = None
        self.critic: dict[str, Any] = self.stored("critic", {})
        self.reset_at_iteration = False
        # Objective.
        self.gamma = 0.99
        self.lambda_ = 0.95
        self.clip_param = 0.01
        self.vf_loss_coeff = 0.5
        self.vf_clip_param: float | None = None
        self.bc_loss_coeff = 0.0
        self.entropy_coeff = 0.0
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
        self.augment = False
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
        reset_at_iteration: bool = NotProvided,
        lambda_: float = NotProvided,
        clip_param: float = NotProvided,
        vf_loss_coeff: float = NotProvided,
        vf_clip_param: float | None = NotProvided,
        bc_loss_coeff: float = NotProvided,
        entropy_coeff: float = NotProvided,
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
        augment: bool = NotProvided,
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
    ) -> ChunkPPOConfig:
        """Sets the objective and its optimization.

        RLlib's own are accepted as well: `gamma`, `num_epochs`, `minibatch_size` (pairs of chunk
        step and denoising step, over all learners), `grad_clip` (on the actor's gradient norm).

        Args:
            base_policy: The policy to fine-tune: a directory of `save_policy` or the checkpoint of
                an algorithm, as a path or a URI. Fields that describe it, its normalisation, and,
                if unset, the environment are taken over; other arguments of the same call come
                after.
            critic: Architecture of the value network.
            reset_at_iteration: Restart all episodes at the start of each iteration.
            lambda_: GAE's lambda, per chunk.
            clip_param: PPO's clip range (of a chain's last step).
            vf_loss_coeff: Weight of the value loss.
            vf_clip_param: Clip range of the value loss, None for no clipping.
            bc_loss_coeff: Weight of the log-likelihood of the base policy's samples.
            entropy_coeff: Weight of the entropy bonus.
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
            augment: Shifts the pictures of an iteration at random before it is learned from.
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
            kwargs: Other settings.

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
        path = None if base_policy is None else str(StoragePath.of(base_policy))
        if path == self.base_policy:
            return
        if path is None:
            self.base_policy = None
            return
        checkpoint = load_policy(path)
        if checkpoint.config.kind not in self.base_kinds:
            raise ValueError(
                f"base_policy={path}: a policy of kind {checkpoint.config.kind}, but "
                f"{type(self).__name__} starts from {' or '.join(self.base_kinds)}"
            )
        self._take_over(checkpoint.config)
        if checkpoint.critic is not None:
            self._set({"critic": checkpoint.critic})
        normalization = checkpoint.normalization
        self.normalization = normalization.to_dict() if normalization else None
        self.task = self.task or checkpoint.task
        if self.env is None and checkpoint.env is not None:
            self.environment(checkpoint.env["id"], env_config=checkpoint.env["config"])
            self.max_episode_steps = checkpoint.env["max_episode_steps"]
        self.base_policy = path

    def update_from_dict(self, config_dict: dict[str, Any]) -> ChunkPPOConfig:
        """As `ChunkConfig`; what `base_policy` brings along yields to the other keys."""
        if config_dict.get("base_policy") is None:
            return super().update_from_dict(config_dict)
        self._inherit(config_dict["base_policy"])
        return super().update_from_dict({**config_dict, "base_policy": self.base_policy})

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """The policy with a critic."""
        model_config = self._policy_fields() | {"critic": dict(self.critic)}
        return RLModuleSpec(module_class=self.module_class, model_config=model_config)

    def get_default_learner_class(self) -> type[ChunkPPOLearner]:
        """`ChunkPPOLearner`."""
        return ChunkPPOLearner

    # --- What depends on the chain of a policy -------------------------------------------------

    def policy_schedule(self, iteration: int) -> dict[str, Any]:
        """Values of `policy.scheduled` in an iteration."""
        del iteration
        return {}

    def clip_ranges(self, chain_steps: int) -> Float[Tensor, " K_ft"]:
        """Clip range of each step of a chain."""
        return torch.full((chain_steps,), float(self.clip_param))

    def step_discounts(self, chain_steps: int) -> Float[Tensor, " K_ft"]:
        """Factor on the advantage at each step of a chain."""
        return torch.ones(chain_steps)

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
        self._validate_ranges()
        self._validate_pictures()
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

    def _try_networks(self, policy: PolicyConfig) -> None:
        super()._try_networks(policy)
        critic = build_dataclass(CriticConfig, self.critic)
        try:
            with torch.device("meta"):
                Critic(critic, policy.observation_spec)
        except ValueError as error:
            raise ValueError(f"critic.{error}") from error

    def _validate_ranges(self) -> None:
        positive = (
            *("num_epochs", "minibatch_size", "clip_param"),
            *("actor_lr_cycle_steps", "critic_lr_cycle_steps", "reward_clip", "reward_scale_const"),
            *("grad_clip", "target_kl", "vf_clip_param", "microbatch_size"),
            "rollout_fragment_length",
        )
        natural = (
            *("actor_lr", "actor_min_lr", "critic_lr", "critic_min_lr", "vf_loss_coeff"),
            *("bc_loss_coeff", "entropy_coeff", "n_critic_warmup_itr", "actor_lr_warmup_steps"),
            *("critic_lr_warmup_steps", "actor_weight_decay", "critic_weight_decay"),
        )
        unit = ("gamma", "lambda_", "reward_scale_gamma")
        quantiles = ("advantage_clip_lower_quantile", "advantage_clip_upper_quantile")
        self._check_whole(
            (
                *("num_epochs", "minibatch_size", "microbatch_size"),
                *("n_critic_warmup_itr", "rollout_fragment_length"),
            )
        )
        self._check_ranges(positive, POSITIVE)
        self._check_ranges(natural, 0)
        self._check_ranges((*unit, *quantiles), 0, 1)
        for prefix in ("actor_", "critic_"):
            self._check_lr_schedule(prefix, "steps")
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

    def _validate_pictures(self) -> None:
        if self.augment and self.vision is None:
            raise ValueError("augment=True: there are no pictures to shift with vision=None")

    def _validate_base_policy(self, checkpoint: PolicyCheckpoint) -> None:
        policy = checkpoint.config
        own = self.policy_config(policy.obs_dim, policy.action_dim, policy.image_shape)
        ours, theirs = _flat(own), _flat(policy)
        for name in self.inherited:
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


def _flat(config: PolicyConfig) -> dict[str, Any]:
    """The fields of a policy and of the parts it is described by."""
    parts = vars(config).values()
    return {k: v for part in (*parts, config) if is_dataclass(part) for k, v in vars(part).items()}
