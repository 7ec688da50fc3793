"""Epochs of cloning loss over demonstrations."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from torch import Tensor, nn

from dppo_rllib.algorithms import collectives
from dppo_rllib.algorithms.learner_support import (
    agreed_seed,
    cpu_threads,
    same_weights,
    set_learner_state,
)
from dppo_rllib.algorithms.schedules import CosineWarmup
from dppo_rllib.datasets import (
    ActionChunks,
    DatasetReader,
    Minibatch,
    Samples,
    StreamedChunks,
    local_dataset,
    minibatches,
    split_episodes,
)
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.bc_module import BCModule
from dppo_rllib.modules.precision import autocast
from dppo_rllib.modules.threads import torch_threads
from dppo_rllib.networks import draw_shifts, random_shift

OPTIMIZER = "actor"
_STATE = "bc"
_VALIDATION_SEED = 0  # the same noise every epoch, so that losses can be compared
_VALIDATION_ROWS = 512


class BCLearner(TorchLearner):
    """Trains on the demonstrations that `config.dataset` names.

    Learners draw the same permutation, noise and steps, take every m-th row of each minibatch,
    and sum their gradients: any number of them gives the same weights up to rounding.
    """

    def build(self) -> None:
        """Builds the networks and reads the demonstrations, or plans how they stream."""
        super().build()
        same_weights(self)
        self._threads = cpu_threads(self.config)
        self._base_seed = agreed_seed(self.config)
        self.epoch = 0
        self._read_samples()

    def _read_samples(self) -> None:
        config = self.config
        cameras = () if config.vision is None else None
        reader = DatasetReader(local_dataset(config.dataset), cameras=cameras)
        episodes = reader.split(config.dataset_split)
        train, validation = split_episodes(
            len(episodes), config.validation_fraction, self._base_seed
        )
        chunks = self._streamed if config.dataset_memory_limit is not None else self._in_memory
        parts = [episodes[train], *([episodes[validation]] if len(validation) else [])]
        self._train, *held_out = chunks(reader, parts)
        self._validation = held_out[0] if held_out else None

    def _in_memory(self, reader: DatasetReader, parts: list[Any]) -> list[Samples]:
        """Read once, so that pictures of all parts lie in the same memory."""
        episodes = np.sort(np.concatenate(parts))
        demonstrations = reader.read(episodes)
        return [
            ActionChunks(
                demonstrations,
                Normalization.from_dict(self.config.normalization),
                episodes=np.searchsorted(episodes, part),
                **self._chunk_settings(),
            )
            for part in parts
        ]

    def _streamed(self, reader: DatasetReader, parts: list[Any]) -> list[Samples]:
        """Of the parts, one at a time is passed over: each may take the whole limit."""
        return [
            StreamedChunks(
                reader,
                Normalization.from_dict(self.config.normalization),
                episodes=part,
                memory_limit=self.config.dataset_memory_limit,
                **self._chunk_settings(),
            )
            for part in parts
        ]

    def _chunk_settings(self) -> dict[str, Any]:
        config = self.config
        return {
            "horizon_steps": config.horizon_steps,
            "cond_steps": config.cond_steps,
            "img_cond_steps": config.img_cond_steps,
            "device": self._device,
        }

    def _make_modules_ddp_if_necessary(self) -> None:
        """Gradients are summed explicitly, see the class's docstring."""

    @property
    def _cloning(self) -> BCModule:
        return self.module[DEFAULT_MODULE_ID]

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        """AdamW on the online network; `train_epoch` sets its learning rate."""
        params = list(self.module[module_id].online.parameters())
        self.register_optimizer(
            module_id=module_id,
            optimizer_name=OPTIMIZER,
            optimizer=torch.optim.AdamW(params, weight_decay=self.config.weight_decay),
            params=params,
        )

    def train_epoch(self) -> Any:
        """One pass over the training samples.

        Returns:
            The learner's reduced metrics.

        Raises:
            FloatingPointError: The loss is not finite.
        """
        start = time.perf_counter()
        with torch_threads(self._threads):
            loss = self._pass_over_samples()
            validation = self._validation_loss()
        if not np.isfinite(loss):
            raise FloatingPointError(
                f"epoch {self.epoch}: training loss {loss}; lower lr={self.config.lr}"
            )
        self._log_trainable_parameters()
        self.epoch += 1
        self._weights_seq_no += 1
        seconds = time.perf_counter() - start
        log = self._log
        log("train_loss", loss)
        log("seconds_update", seconds)
        log("samples_per_second", len(self._train) / seconds)
        if validation is not None:
            log("validation_loss", validation)
        return self.metrics.reduce()

    def _pass_over_samples(self) -> float:
        config = self.config
        words = np.random.SeedSequence([self._base_seed, self.epoch]).generate_state(1)
        generator = torch.Generator().manual_seed(int(words[0]))
        optimizer = self.get_optimizer(DEFAULT_MODULE_ID, OPTIMIZER)
        rate = CosineWarmup(
            config.lr, config.min_lr, config.lr_warmup_epochs, config.lr_cycle_epochs
        )(self.epoch)
        self._set_optimizer_lr(optimizer, rate)
        self._log("lr", rate)
        parameters = self._optimizer_parameters[optimizer]
        samples = len(self._train)
        total = torch.zeros((), device=self._device)
        steps = -(-samples // config.minibatch_size)
        passed = minibatches(self._train, config.minibatch_size, generator)
        for step, minibatch in enumerate(passed):
            optimizer.zero_grad(set_to_none=True)
            batch = self._batch(minibatch, generator, augment=config.augment)
            loss = self.compute_loss_for_module(
                module_id=DEFAULT_MODULE_ID, config=config, batch=batch, fwd_out={}
            ) / len(minibatch)
            loss.backward()
            collectives.all_reduce_sum([p.grad for p in parameters if p.grad is not None])
            if config.grad_clip is not None:
                nn.utils.clip_grad_norm_(parameters, config.grad_clip)
            optimizer.step()
            total += loss.detach() * len(minibatch)
            # Counted over the whole training, so that short epochs average as long ones do.
            if (self.epoch * steps + step) % config.ema_update_every == 0:
                self._update_average()
        if self.epoch < config.ema_start_epoch:
            self._update_average()
        collectives.all_reduce_sum([total])
        return float(total) / samples

    def _batch(
        self, minibatch: Minibatch, generator: torch.Generator, *, augment: bool
    ) -> dict[str, Any]:
        """This learner's share of a minibatch, with what is random drawn for all of it."""
        draws = self._cloning.policy.draw_bc(len(minibatch), generator)
        mine = slice(collectives.rank(), None, collectives.world_size())
        obs, chunk = minibatch.gather(mine)
        if augment:
            cameras = self._cloning.policy.config.vision.num_cameras
            shifts = draw_shifts(len(minibatch), cameras, generator=generator)[mine]
            obs["rgb"] = random_shift(obs["rgb"], shifts.to(self._device))
        return {
            "obs": obs,
            "chunk": chunk,
            "draws": {key: value[mine].to(self._device) for key, value in draws.items()},
        }

    def compute_loss_for_module(
        self, *, module_id: str, config: Any, batch: dict[str, Any], fwd_out: dict[str, Any]
    ) -> Tensor:
        """Cloning loss of the online network, summed over the rows of the batch."""
        with autocast(self._device, config.mixed_precision):
            return self._cloning.policy.bc_loss(self._cloning.online, **batch).sum()

    @torch.no_grad()
    def _validation_loss(self) -> float | None:
        """Loss of the policy (the average) on held-out episodes, always with the same noise."""
        if self._validation is None:
            return None
        generator = torch.Generator().manual_seed(_VALIDATION_SEED)
        policy = self._cloning.policy
        total = torch.zeros((), device=self._device)
        for minibatch in minibatches(self._validation, _VALIDATION_ROWS, None):
            batch = self._batch(minibatch, generator, augment=False)
            with autocast(self._device, self.config.mixed_precision):
                total += policy.bc_loss(policy.actor, **batch).sum()
        collectives.all_reduce_sum([total])
        return float(total) / len(self._validation)

    def _update_average(self) -> None:
        """Moves the policy towards the online weights; before `ema_start_epoch` onto them."""
        decay = 0.0 if self.epoch < self.config.ema_start_epoch else self.config.ema_decay
        update_average(self._cloning.policy.actor, self._cloning.online, decay)

    def _log(self, key: str, value: float) -> None:
        self.metrics.log_value((DEFAULT_MODULE_ID, key), float(value), window=1)

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> Any:
        """RLlib's learner state and the epoch."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_STATE, components, not_components):
            state[_STATE] = {"epoch": self.epoch, "seed": self._base_seed}
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Loads a state, also an older one than the present."""
        set_learner_state(self, super().set_state, state)
        if own := state.get(_STATE):
            self.epoch = int(own["epoch"])
            if self._base_seed != int(own["seed"]):
                self._base_seed = int(own["seed"])
                self._read_samples()  # what was held out stays so


@torch.no_grad()
def update_average(average: nn.Module, online: nn.Module, decay: float) -> None:
    """One step of the running average of weights: `decay * average + (1 - decay) * online`."""
    torch._foreach_lerp_(list(average.parameters()), list(online.parameters()), 1 - decay)
