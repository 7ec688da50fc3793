"""PPO over the steps of the chain that leads to each action chunk."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.learner.training_data import TrainingData
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from torch import Tensor, nn

from dppo_rllib.algorithms.fetching import fetch_trajectories
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.learner_support import (
    agreed_seed,
    cpu_threads,
    same_weights,
    set_learner_state,
)
from dppo_rllib.algorithms.minibatch_gradients import MinibatchGradients
from dppo_rllib.algorithms.objective import actor_objective
from dppo_rllib.algorithms.preparation import prepare_iteration
from dppo_rllib.algorithms.reward_scaling import RunningRewardScaler
from dppo_rllib.algorithms.schedules import learning_rate
from dppo_rllib.algorithms.scoring import Scoring
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics, update_figures
from dppo_rllib.modules.chunk_module import ChunkRLModule
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.rollouts.trajectories import Trajectories, concatenate

ACTOR, ETA, CRITIC = "actor", "eta", "critic"
_STATE = "dppo"


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
        objective = functools.partial(
            self.compute_loss_for_module, module_id=DEFAULT_MODULE_ID, config=config
        )
        module = self._module_to_train
        self._gradients = MinibatchGradients(module, config, self._device, self._threads, objective)
        self._scoring = Scoring(module, config, self._device)
        self._apply_schedules()

    def _make_modules_ddp_if_necessary(self) -> None:
        """Gradients are summed by `MinibatchGradients`, see the class's docstring."""

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
        rescore = None
        if self.config.augment or self.config.mixed_precision:
            seed = self._iteration_seed(stream=1)
            rescore = functools.partial(self._scoring.rescore, seed=seed)
        data, figures = prepare_iteration(
            trajectories, self._scoring.values, self._scaler, self.config, self._device, rescore
        )
        self._log_all(figures)
        return data

    def _optimize(self, data: IterationData) -> None:
        config = self.config
        generator = torch.Generator().manual_seed(self._iteration_seed())
        means: list[Tensor] = []
        skipped = 0
        self._norms: dict[str, list[float]] = {name: [] for name in self._networks()}
        for pairs in self._minibatches(data.num_pairs, generator):
            statistics = self._accumulate(data, pairs, generator)
            if self._step():
                means.append(statistics.means(len(pairs)))
            else:
                skipped += 1
            if config.target_kl is not None and statistics.mean_kl(len(pairs)) > config.target_kl:
                break
        if not means:
            raise FloatingPointError(
                f"iteration {self.iteration}: every gradient was NaN or infinite; "
                "lower actor_lr and critic_lr, or resume from the last checkpoint"
            )
        figures = update_figures(
            torch.stack(means),
            vf_loss=config.vf_loss_coeff,
            bc_loss=config.bc_loss_coeff,
            entropy=-config.entropy_coeff,
        )
        norms = {f"{k}_gradient_norm": np.mean(v) for k, v in self._norms.items() if v}
        counts = {"num_updates": len(means), "num_skipped_updates": skipped}
        self._log_all(figures | norms | counts)

    def _minibatches(self, num_pairs: int, generator: torch.Generator) -> Iterator[Tensor]:
        """Pairs of the minibatches of all epochs, without what is left over of an epoch."""
        size = min(self.config.minibatch_size, num_pairs)
        for _ in range(self.config.num_epochs):
            pairs = self._permutation(num_pairs, generator).to(self._device)
            for start in range(0, num_pairs - size + 1, size):
                yield pairs[start : start + size]

    def _permutation(self, num_pairs: int, generator: torch.Generator) -> Tensor:
        return torch.randperm(num_pairs, generator=generator)

    def _accumulate(
        self, data: IterationData, pairs: Tensor, generator: torch.Generator
    ) -> MinibatchStatistics:
        """Leaves the gradients of a minibatch, summed over learners, in the parameters."""
        trained = self._trained_parameters()
        actor = [p for name in (ACTOR, ETA) for p in trained.get(name, [])]
        return self._gradients.accumulate(
            data, pairs, generator, actor=actor, critic=trained[CRITIC]
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
            fwd_out: See `objective.actor_objective`.
        """
        return actor_objective(batch, fwd_out, self._clip_ranges, self._discounts, config)

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
        only_critic = self.iteration < self.config.n_critic_warmup_itr
        return {
            name: self._optimizer_parameters[self.get_optimizer(DEFAULT_MODULE_ID, name)]
            for name in self._networks()
            if name == CRITIC or not only_critic
        }

    # --- What follows from the configuration and the iteration ---------------------------------

    def _iteration_seed(self, stream: int = 0) -> int:
        """Of one of the random streams of an iteration."""
        words = np.random.SeedSequence([self._base_seed, self.iteration]).generate_state(2)
        return int(words[stream])

    def _set_learning_rates(self) -> None:
        for name in self._networks():
            rate = learning_rate(self.config, name, self.iteration)
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
