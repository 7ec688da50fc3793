"""PPO over the steps of the chain that leads to each action chunk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
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
from dppo_rllib.algorithms.accumulation import (
    accumulate_gradients,
    activation_bytes,
    balanced_pieces,
)
from dppo_rllib.algorithms.augmentation import chain_log_probs, shift_pictures
from dppo_rllib.algorithms.fetching import fetch_trajectories
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.learner_support import (
    agreed_seed,
    cpu_threads,
    same_weights,
    set_learner_state,
)
from dppo_rllib.algorithms.ppo_loss import normalized_advantages, policy_loss, value_loss
from dppo_rllib.algorithms.preparation import prepare_iteration
from dppo_rllib.algorithms.reward_scaling import RunningRewardScaler
from dppo_rllib.algorithms.schedules import CosineWarmup
from dppo_rllib.algorithms.teacher_loss import teacher_loss
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics, update_figures
from dppo_rllib.modules.chunk_module import (
    CHAIN_NEXT,
    CHAIN_PREV,
    ENCODED,
    FT_INDEX,
    LOG_PROBS,
    ChunkRLModule,
)
from dppo_rllib.modules.policy import Encoded
from dppo_rllib.modules.precision import autocast
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.rollouts.trajectories import Trajectories, concatenate

ACTOR, ETA, CRITIC = "actor", "eta", "critic"
_STATE = "dppo"
_STATISTICS, _BC_LOSS = "statistics", "bc_loss"
# Rows of one pass without gradients, without pictures and with them.
_VALUE_ROWS = {False: 8192, True: 512}
_PROBE_ROWS = 16


class ChunkPPOLearner(TorchLearner):
    """Learns from one iteration of `Trajectories` at a time.

    Everything stays on the learner's device. A frozen base actor takes no part in the update
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
        self._activation_bytes: dict[str, int] = {}
        self._apply_schedules()

    def _make_modules_ddp_if_necessary(self) -> None:
        """Gradients are reduced by `_reduce`, see the class's docstring."""

    @property
    def _module_to_train(self) -> ChunkRLModule:
        return self.module[DEFAULT_MODULE_ID]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW for each trained network; `update` sets their rates."""
        for name, network in self._networks().items():
            params = list(network.parameters())
            decay = getattr(self.config, f"{name}_weight_decay")
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
        policy = self._module_to_train.policy
        with self._seconds("update"), torch_threads(self._threads):
            self._set_learning_rates()
            self._log_all({name: getattr(policy, name) for name in policy.scheduled})
            self._optimize(data)
        self._log_trainable_parameters()
        self._weights_seq_no += 1
        self.iteration += 1
        self._apply_schedules()
        return self.metrics.reduce()

    def _prepare(self, trajectories: Trajectories) -> IterationData:
        data, figures = prepare_iteration(
            trajectories,
            self._values,
            self._scaler,
            self.config,
            self._device,
            self._rescore if self.config.augment or self.config.mixed_precision else None,
        )
        self._log_all(figures)
        return data

    def _rescore(
        self, obs: dict[str, Tensor], chains: Tensor, own_rows: np.ndarray
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Observations to learn from, and log-probabilities on them of the policy that acted.

        That is the present one: as it would have acted on shifted pictures, and, in bfloat16, as
        it is computed here. Kernels for the few rows of a runner may round otherwise, by as much
        as a clip range.
        """
        if self.config.augment:
            generator = torch.Generator().manual_seed(self._iteration_seed(stream=1))
            obs = obs | {"rgb": shift_pictures(obs["rgb"], own_rows, generator)}
        with autocast(self._device, self.config.mixed_precision):
            log_probs = chain_log_probs(
                self._module_to_train.policy, obs, chains, _VALUE_ROWS["rgb" in obs]
            )
        return obs, log_probs

    @torch.no_grad()
    def _values(self, obs: dict[str, Tensor]) -> Tensor:
        values_of = self._module_to_train.compute_values
        pieces = balanced_pieces(len(obs["state"]), _VALUE_ROWS["rgb" in obs], threads=1)
        with autocast(self._device, self.config.mixed_precision):
            parts = [values_of({Columns.OBS: {k: v[p] for k, v in obs.items()}}) for p in pieces]
        return torch.cat(parts)

    def _optimize(self, data: IterationData) -> None:
        config = self.config
        generator = torch.Generator().manual_seed(self._iteration_seed())
        size = min(config.minibatch_size, data.num_pairs)
        means: list[Tensor] = []
        skipped = 0
        self._norms: dict[str, list[float]] = {name: [] for name in self._networks()}
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
            update_figures(
                torch.stack(means),
                vf_loss=config.vf_loss_coeff,
                bc_loss=config.bc_loss_coeff,
                entropy=-config.entropy_coeff,
            )
        )
        self._log_all({f"{k}_gradient_norm": np.mean(v) for k, v in self._norms.items() if v})

    def _permutation(self, num_pairs: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(num_pairs, generator=generator)

    def _accumulate(
        self, data: IterationData, pairs: Tensor, generator: torch.Generator
    ) -> MinibatchStatistics:
        """Leaves the gradients of a minibatch, summed over learners, in the parameters."""
        config = self.config
        if data.has_pictures:
            pairs = pairs.sort().values  # those of one observation next to each other
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
            teacher_noise = self._module_to_train.policy.draw_noise(len(pairs), generator)[:, mine]

        def actor_loss(piece: slice, counted: MinibatchStatistics) -> Tensor:
            rows, steps = row[piece], step[piece]
            noise = None if teacher_noise is None else teacher_noise[:, piece]
            with autocast(self._device, config.mixed_precision):
                batch = {
                    ENCODED: self._encoded(data, rows),
                    CHAIN_PREV: data.chains[rows, steps],
                    CHAIN_NEXT: data.chains[rows, steps + 1],
                    FT_INDEX: steps,
                    LOG_PROBS: data.log_probs[rows, steps],
                    Columns.ADVANTAGES: advantages[piece],
                }
                if noise is not None:
                    batch[Columns.OBS] = data.observations(rows)
                return self._actor_loss(batch, counted, noise) / len(pairs)

        accumulate_gradients(
            actor_loss,
            len(row),
            self._microbatch_size(actor_loss, len(row)),
            [p for name in (ACTOR, ETA) for p in self._trained_parameters().get(name, [])],
            statistics,
            self._gradient_threads,
        )
        self._accumulate_critic(data, row, len(pairs), statistics)
        self._reduce(statistics)
        return statistics

    def _encoded(self, data: IterationData, rows: Tensor) -> Encoded:
        """Encoded observations of rows; pictures that several of them share are encoded once."""
        policy = self._module_to_train.policy
        if not data.has_pictures:
            return policy.encode(data.observations(rows))
        distinct, position = torch.unique_consecutive(rows, return_inverse=True)
        encoded = policy.encode(data.observations(distinct))
        return {key: value[position] for key, value in encoded.items()}

    def _actor_loss(
        self, batch: dict[str, Any], statistics: MinibatchStatistics, teacher_noise: Tensor | None
    ) -> Tensor:
        """Policy loss summed over one microbatch."""
        fwd_out = self._module_to_train.forward_train(batch)
        fwd_out[_STATISTICS] = statistics
        if teacher_noise is not None:
            fwd_out[_BC_LOSS] = teacher_loss(
                self._module_to_train.policy, batch[Columns.OBS], teacher_noise
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
        if config.entropy_coeff > 0:
            entropy = self._module_to_train.policy.entropy(batch[ENCODED]).sum()
            loss = loss - config.entropy_coeff * entropy
            statistics.add(entropy=entropy)
        return loss

    def _accumulate_critic(
        self, data: IterationData, row: Tensor, total: int, statistics: MinibatchStatistics
    ) -> None:
        """Adds the value loss; an observation that several pairs share is passed once, weighted."""
        counts = torch.bincount(row, minlength=len(data.returns))
        distinct = counts.nonzero().squeeze(1)

        def critic_loss(piece: slice, counted: MinibatchStatistics) -> Tensor:
            rows = distinct[piece]
            with autocast(self._device, self.config.mixed_precision):
                values = self._module_to_train.compute_values(
                    {Columns.OBS: data.observations(rows)}
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
            self._microbatch_size(critic_loss, len(distinct)),
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

    def _networks(self) -> dict[str, nn.Module]:
        """What has an optimizer, by its name."""
        module = self._module_to_train
        networks = {ACTOR: module.policy.actor_ft, CRITIC: module.critic}
        eta = getattr(module.policy, ETA, None)
        learns = eta is not None and any(p.requires_grad for p in eta.parameters())
        return networks | {ETA: eta} if learns else networks

    def _trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        return {
            name: self._optimizer_parameters[self.get_optimizer(DEFAULT_MODULE_ID, name)]
            for name in self._networks()
            if self._trains_actor or name == CRITIC
        }

    # --- What follows from the configuration and the iteration ---------------------------------

    @property
    def _trains_actor(self) -> bool:
        return self.iteration >= self.config.n_critic_warmup_itr

    def _microbatch_size(
        self, loss_of: Callable[[slice, MinibatchStatistics], Tensor], rows: int
    ) -> int:
        if self.config.microbatch_size is not None:
            return self.config.microbatch_size
        on_cpu = self._device.type == "cpu"
        # On a CPU activations of more rows fall out of the cache.
        largest = 2500 if on_cpu else 65536
        if rows == 0:
            return largest
        name = loss_of.__name__
        if name not in self._activation_bytes:
            statistics = MinibatchStatistics(self._clip_ranges.numel(), self._device)
            probe = slice(0, min(rows, _PROBE_ROWS))
            size = activation_bytes(lambda: loss_of(probe, statistics), self._module_to_train)
            self._activation_bytes[name] = max(1, size // probe.stop)
        return max(1, min(largest, _free_memory(self._device) // self._activation_bytes[name]))

    @property
    def _gradient_threads(self) -> int | None:
        return self._threads if self._device.type == "cpu" else None

    def _iteration_seed(self, stream: int = 0) -> int:
        """Of one of the random streams of an iteration."""
        words = np.random.SeedSequence([self._base_seed, self.iteration]).generate_state(2)
        return int(words[stream])

    def _set_learning_rates(self) -> None:
        config = self.config
        for name in self._networks():
            # The actor's schedules stand still while only the critic trains.
            waited = 0 if name == CRITIC else config.n_critic_warmup_itr
            rate = CosineWarmup(
                max_lr=getattr(config, f"{name}_lr"),
                min_lr=getattr(config, f"{name}_min_lr"),
                warmup_steps=getattr(config, f"{name}_lr_warmup_steps"),
                cycle_steps=getattr(config, f"{name}_lr_cycle_steps"),
            )(max(0, self.iteration - waited))
            self._set_optimizer_lr(self.get_optimizer(DEFAULT_MODULE_ID, name), rate)
            self._log(f"{name}_lr", rate)

    def _apply_schedules(self) -> None:
        """Brings the policy to the annealed values of the coming iteration."""
        config, policy = self.config, self._module_to_train.policy
        steps = policy.chain_steps
        for name, value in config.policy_schedule(self.iteration).items():
            setattr(policy, name, value)
        if policy.chain_steps < steps:
            # Steps that are no longer trained keep what they have learned.
            policy.actor.load_state_dict(policy.actor_ft.state_dict())
        steps = policy.chain_steps
        self._clip_ranges = config.clip_ranges(steps).to(self._device)
        self._discounts = config.step_discounts(steps).to(self._device)

    # --- State ---------------------------------------------------------------------------------

    def acting_state(self, components: list[str]) -> dict[str, Any]:
        """What runners need to act with the present weights.

        Args:
            components: `["actor_ft"]`, or with `"actor"` when runners do not have the base yet.
        """
        return {
            COMPONENT_RL_MODULE: self._module_to_train.get_state(components),
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


def _free_memory(device: torch.device) -> int:
    """Bytes that the activations of one piece may take."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 4
    return 256 * 2**20  # more does not make it faster
