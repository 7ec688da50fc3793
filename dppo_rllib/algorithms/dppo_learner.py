"""PPO over the last denoising steps of each action chunk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from torch import Tensor, nn

from dppo_rllib.algorithms import collectives
from dppo_rllib.algorithms.accumulation import accumulate_gradients, balanced_pieces
from dppo_rllib.algorithms.fetching import fetch_trajectories
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.learner_support import (
    agreed_seed,
    cpu_threads,
    same_weights,
    set_learner_state,
)
from dppo_rllib.algorithms.ppo_loss import (
    clip_ranges,
    denoising_discounts,
    normalized_advantages,
    policy_loss,
    value_loss,
)
from dppo_rllib.algorithms.preparation import prepare_iteration
from dppo_rllib.algorithms.reward_scaling import RunningRewardScaler
from dppo_rllib.algorithms.schedules import CosineWarmup, step_value_at, value_at
from dppo_rllib.algorithms.teacher_loss import teacher_loss
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics, update_figures
from dppo_rllib.modules.diffusion_module import (
    CHAIN_NEXT,
    CHAIN_PREV,
    FT_INDEX,
    LOG_PROBS,
    DiffusionRLModule,
)
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.rollouts.trajectories import Trajectories, concatenate

ACTOR, CRITIC = "actor", "critic"
_STATE = "dppo"
_STATISTICS, _BC_LOSS = "statistics", "bc_loss"
_VALUE_ROWS = 8192  # rows of one value pass without gradients


class DPPOLearner(TorchLearner):
    """Learns from one iteration of `Trajectories` at a time.

    Everything stays on the learner's device. The frozen base actor takes no part in the update
    (but for the optional BC term). Gradients are summed over microbatches and over learners
    explicitly rather than by DDP: rows are weighted by the size of the whole minibatch, so that
    any number of learners and any microbatch size give the same step up to rounding.
    """

    def build(self) -> None:
        """Builds module and optimizers, and agrees on a seed with the other learners."""
        super().build()
        same_weights(self)
        config = self.config
        self._threads = cpu_threads(config)
        self._base_seed = agreed_seed(config)
        self._scaler = RunningRewardScaler(
            gamma=config.gamma if config.reward_scale_gamma is None else config.reward_scale_gamma,
            clip=config.reward_clip,
        )
        self.iteration = 0
        self._apply_schedules()

    def _make_modules_ddp_if_necessary(self) -> None:
        """Gradients are reduced by `_reduce`, see the class's docstring."""

    @property
    def _diffusion(self) -> DiffusionRLModule:
        return self.module[DEFAULT_MODULE_ID]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW for the fine-tuned actor and for the critic; `update` sets their rates."""
        module = self.module[module_id]
        for name, network, decay in (
            (ACTOR, module.policy.actor_ft, self.config.actor_weight_decay),
            (CRITIC, module.critic, self.config.critic_weight_decay),
        ):
            params = list(network.parameters())
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.AdamW(params, weight_decay=decay),
                params=params,
            )

    # --- One iteration -------------------------------------------------------------------------

    def update(
        self,
        training_data: TrainingData | None = None,
        *,
        timesteps: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Values, advantages and epochs of PPO on the trajectories of one iteration.

        Args:
            training_data: Its batches (or references to them) are `Trajectories`.
            timesteps: Accepted for RLlib's hooks.
            kwargs: RLlib's per-call options, not needed here.

        Returns:
            The learner's reduced metrics, or None if trajectories vanished with the runner that
            held them: nothing is learned then, and the iteration can be sampled anew. (A value,
            because RLlib takes a learner that raises for dead.)
        """
        self.before_gradient_based_update(timesteps=timesteps or {})
        with self._seconds("transfer"):
            fetched = fetch_trajectories(training_data)
        if fetched is None:
            return None
        trajectories = concatenate(fetched)
        with self._seconds("preparation"), torch_threads(self._threads):
            data = self._prepare(trajectories)
        with self._seconds("update"), torch_threads(self._threads):
            self._set_learning_rates()
            self._log("ft_denoising_steps", data.ft_denoising_steps)
            self._log(
                "min_sampling_denoising_std", self._diffusion.policy.min_sampling_denoising_std
            )
            self._optimize(data)
        self._log_trainable_parameters()
        self._weights_seq_no += 1
        self.iteration += 1
        self._apply_schedules()
        return self.metrics.reduce()

    def _prepare(self, trajectories: Trajectories) -> IterationData:
        data, figures = prepare_iteration(
            trajectories, self._values, self._scaler, self.config, self._device
        )
        self._log_all(figures)
        return data

    @torch.no_grad()
    def _values(self, obs: dict[str, Tensor]) -> Tensor:
        rows = len(next(iter(obs.values())))
        parts = [
            self._diffusion.compute_values({Columns.OBS: {k: v[p] for k, v in obs.items()}})
            for p in balanced_pieces(rows, _VALUE_ROWS, threads=1)
        ]
        return torch.cat(parts)

    def _optimize(self, data: IterationData) -> None:
        config = self.config
        generator = torch.Generator().manual_seed(self._iteration_seed())
        size = min(config.minibatch_size, data.num_pairs)
        means: list[Tensor] = []
        skipped = 0
        self._norms: dict[str, list[float]] = {ACTOR: [], CRITIC: []}
        for _ in range(config.num_epochs):
            pairs = self._permutation(data.num_pairs, generator).to(self._device)
            for start in range(0, data.num_pairs - size + 1, size):
                statistics = self._accumulate(data, pairs[start : start + size], generator)
                if self._step():
                    means.append(statistics.means(size))
                else:
                    skipped += 1
                if config.target_kl is not None and statistics.mean_kl(size) > config.target_kl:
                    break
            else:
                continue
            break
        if not means:
            raise FloatingPointError(
                f"iteration {self.iteration}: every gradient was NaN or infinite; "
                "lower actor_lr and critic_lr, or resume from the last checkpoint"
            )
        self._log_all({"num_updates": len(means), "num_skipped_updates": skipped})
        self._log_all(
            update_figures(torch.stack(means), config.vf_loss_coeff, config.bc_loss_coeff)
        )
        self._log_all({f"{k}_gradient_norm": np.mean(v) for k, v in self._norms.items() if v})

    def _permutation(self, num_pairs: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(num_pairs, generator=generator)

    def _accumulate(
        self, data: IterationData, pairs: Tensor, generator: torch.Generator
    ) -> MinibatchStatistics:
        """Leaves the gradients of a minibatch, summed over learners, in the parameters."""
        config = self.config
        row, step, mine = data.locate(pairs)
        advantages = normalized_advantages(
            data.advantages[pairs // data.ft_denoising_steps],
            normalize=config.normalize_advantages,
            lower_quantile=config.advantage_clip_lower_quantile,
            upper_quantile=config.advantage_clip_upper_quantile,
        )[mine]
        for optimizer in self._optimizer_parameters:
            optimizer.zero_grad(set_to_none=True)
        statistics = MinibatchStatistics(data.ft_denoising_steps, self._device)
        teacher_noise = None
        if config.bc_loss_coeff > 0:
            # For the rows of all learners, so that each draws the same.
            teacher_noise = self._diffusion.policy.draw_noise(len(pairs), generator)[:, mine]

        def actor_loss(piece: slice, counted: MinibatchStatistics) -> Tensor:
            batch = {
                Columns.OBS: {k: v[row[piece]] for k, v in data.obs.items()},
                CHAIN_PREV: data.chains[row[piece], step[piece]],
                CHAIN_NEXT: data.chains[row[piece], step[piece] + 1],
                FT_INDEX: step[piece],
                LOG_PROBS: data.log_probs[row[piece], step[piece]],
                Columns.ADVANTAGES: advantages[piece],
            }
            noise = None if teacher_noise is None else teacher_noise[:, piece]
            return self._actor_loss(batch, counted, noise) / len(pairs)

        accumulate_gradients(
            actor_loss,
            len(row),
            self._microbatch_size,
            self._trained_parameters().get(ACTOR, []),
            statistics,
            self._gradient_threads,
        )
        self._accumulate_critic(data, row, len(pairs), statistics)
        self._reduce(statistics)
        return statistics

    def _actor_loss(
        self, batch: dict[str, Any], statistics: MinibatchStatistics, teacher_noise: Tensor | None
    ) -> Tensor:
        """Policy loss summed over one microbatch."""
        fwd_out = self._diffusion.forward_train(batch)
        fwd_out[_STATISTICS] = statistics
        if teacher_noise is not None:
            fwd_out[_BC_LOSS] = teacher_loss(
                self._diffusion.policy, batch[Columns.OBS], teacher_noise
            )
        return self.compute_loss_for_module(
            module_id=DEFAULT_MODULE_ID, config=self.config, batch=batch, fwd_out=fwd_out
        )

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """The actor's objective summed over a microbatch; counts its statistics.

        Called from several threads at once where a learner has them.

        Args:
            module_id: There is one module.
            config: Its configuration.
            batch: Columns of the microbatch.
            fwd_out: Log-probabilities under the present weights, the statistics to add to, and
                the BC term if it is used.
        """
        step, statistics = batch[FT_INDEX], fwd_out[_STATISTICS]
        terms = policy_loss(
            fwd_out[LOG_PROBS],
            batch[LOG_PROBS],
            batch[Columns.ADVANTAGES] * self._discounts[step],
            self._clip_ranges[step],
        )
        loss = terms.loss.sum()
        statistics.add(policy_loss=loss, mean_kl_loss=terms.approx_kl, ratio=terms.ratio)
        statistics.add_clipped(terms.clipped, step)
        if _BC_LOSS in fwd_out:
            bc_loss = fwd_out[_BC_LOSS].sum()
            loss = loss + config.bc_loss_coeff * bc_loss
            statistics.add(bc_loss=bc_loss)
        return loss

    def _accumulate_critic(
        self, data: IterationData, row: Tensor, total: int, statistics: MinibatchStatistics
    ) -> None:
        """Adds the value loss; an observation that several pairs share is passed once, weighted."""
        counts = torch.bincount(row, minlength=len(data.returns))
        distinct = counts.nonzero().squeeze(1)

        def critic_loss(piece: slice, counted: MinibatchStatistics) -> Tensor:
            rows = distinct[piece]
            values = self._diffusion.compute_values(
                {Columns.OBS: {k: v[rows] for k, v in data.obs.items()}}
            )
            errors = value_loss(
                values, data.returns[rows], data.values[rows], self.config.vf_clip_param
            )
            loss = (errors * counts[rows]).sum()
            counted.add(vf_loss=loss)
            return self.config.vf_loss_coeff * loss / total

        accumulate_gradients(
            critic_loss,
            len(distinct),
            self._microbatch_size,
            self._trained_parameters()[CRITIC],
            statistics,
            self._gradient_threads,
        )

    def _reduce(self, statistics: MinibatchStatistics) -> None:
        """Sums gradients and statistics over the learners."""
        if collectives.world_size() == 1:
            return
        gradients = []
        for params in self._trained_parameters().values():
            for p in params:
                # A learner may own no row of a small minibatch.
                p.grad = torch.zeros_like(p) if p.grad is None else p.grad
                gradients.append(p.grad)
        collectives.all_reduce_sum([*gradients, statistics.sums])

    def _step(self) -> bool:
        """Applies the accumulated gradients, unless one is not finite."""
        limits = {ACTOR: self.config.grad_clip}
        norms = {
            name: nn.utils.clip_grad_norm_(params, limits.get(name) or float("inf"))
            for name, params in self._trained_parameters().items()
        }
        if not all(torch.isfinite(norm) for norm in norms.values()):
            return False
        for name, norm in norms.items():
            self._norms[name].append(float(norm))
            self.get_optimizer(DEFAULT_MODULE_ID, name).step()
        return True

    def _trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        return {
            name: self._optimizer_parameters[self.get_optimizer(DEFAULT_MODULE_ID, name)]
            for name in ([ACTOR, CRITIC] if self._trains_actor else [CRITIC])
        }

    # --- What follows from the configuration and the iteration ---------------------------------

    @property
    def _trains_actor(self) -> bool:
        return self.iteration >= self.config.n_critic_warmup_itr

    @property
    def _microbatch_size(self) -> int:
        if self.config.microbatch_size is not None:
            return self.config.microbatch_size
        # On a CPU activations of more rows fall out of the cache.
        return 2500 if self._device.type == "cpu" else 65536

    @property
    def _gradient_threads(self) -> int | None:
        return self._threads if self._device.type == "cpu" else None

    def _iteration_seed(self) -> int:
        words = np.random.SeedSequence([self._base_seed, self.iteration]).generate_state(1)
        return int(words[0])

    def _set_learning_rates(self) -> None:
        config = self.config
        # The actor's schedule stands still while only the critic trains.
        iterations = {
            ACTOR: max(0, self.iteration - config.n_critic_warmup_itr),
            CRITIC: self.iteration,
        }
        for name, iteration in iterations.items():
            rate = CosineWarmup(
                max_lr=getattr(config, f"{name}_lr"),
                min_lr=getattr(config, f"{name}_min_lr"),
                warmup_steps=getattr(config, f"{name}_lr_warmup_steps"),
                cycle_steps=getattr(config, f"{name}_lr_cycle_steps"),
            )(iteration)
            self._set_optimizer_lr(self.get_optimizer(DEFAULT_MODULE_ID, name), rate)
            self._log(f"{name}_lr", rate)

    def _apply_schedules(self) -> None:
        """Brings the policy to the annealed values of the coming iteration."""
        config, policy = self.config, self._diffusion.policy
        steps = step_value_at(config.ft_denoising_steps, self.iteration)
        if steps < policy.ft_denoising_steps:
            # Steps that are no longer trained keep what they have learned.
            policy.actor.load_state_dict(policy.actor_ft.state_dict())
        policy.ft_denoising_steps = steps
        policy.min_sampling_denoising_std = value_at(
            config.min_sampling_denoising_std, self.iteration
        )
        self._clip_ranges = clip_ranges(
            steps, config.clip_param, config.clip_param_base, config.clip_param_rate
        ).to(self._device)
        self._discounts = denoising_discounts(steps, config.gamma_denoising).to(self._device)

    # --- State ---------------------------------------------------------------------------------

    def acting_state(self, components: list[str]) -> dict[str, Any]:
        """What runners need to act with the present weights.

        Args:
            components: `["actor_ft"]`, or with `"actor"` when runners do not have the base yet.
        """
        return {
            COMPONENT_RL_MODULE: self._diffusion.get_state(components),
            WEIGHTS_SEQ_NO: self._weights_seq_no,
        }

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        """RLlib's learner state, the iteration and the reward scaling."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_STATE, components, not_components):
            state[_STATE] = {
                "iteration": self.iteration,
                "seed": self._base_seed,
                "reward_scaling": self._scaler.get_state(),
            }
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads a state, also an older one than the present."""
        set_learner_state(self, super().set_state, state)
        if own := state.get(_STATE):
            self.iteration = int(own["iteration"])
            self._base_seed = int(own["seed"])
            self._scaler.set_state(own["reward_scaling"])
        # Values in force come from the configuration, which may have changed (PBT).
        self._apply_schedules()

    # --- Metrics -------------------------------------------------------------------------------

    @contextmanager
    def _seconds(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self._log(f"seconds_{what}", time.perf_counter() - start)

    def _log(self, key: str, value: Any) -> None:
        self.metrics.log_value((DEFAULT_MODULE_ID, key), float(value), window=1)

    def _log_all(self, figures: dict[str, Any]) -> None:
        for key, value in figures.items():
            self._log(key, value)
