"""Pre-training: behaviour cloning of a policy that acts in chunks, as an RLlib algorithm."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from ray.rllib.algorithms.algorithm_config import NotProvided
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import LEARNER_RESULTS, LEARNER_UPDATE_TIMER, TIMERS

from dppo_rllib.algorithms.bc_learner import BCLearner
from dppo_rllib.algorithms.chunk_algorithm import ChunkAlgorithm, checked
from dppo_rllib.algorithms.chunk_config import POSITIVE, ChunkConfig
from dppo_rllib.datasets import (
    DatasetReader,
    StreamedChunks,
    local_dataset,
    read_image_shape,
    read_statistics,
)
from dppo_rllib.datasets.hub import is_on_hub, pinned
from dppo_rllib.datasets.lerobot_layout import ACTION, OBSERVATION
from dppo_rllib.environments import Normalization
from dppo_rllib.modules.bc_module import BCModule


class ChunkBCConfig(ChunkConfig):
    """Cloning of demonstrations; a base for what clones a particular policy."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class)
        self.dataset: str | None = None
        self.dataset_split: str | None = None
        self.dataset_memory_limit: float | None = None
        self.num_env_runners = 0
        self.minibatch_size = 128
        self.lr = 1e-3
        self.min_lr = 1e-4
        self.lr_warmup_epochs = 1
        self.lr_cycle_epochs = 200
        self.weight_decay = 1e-6
        self.ema_decay = 0.995
        self.ema_update_every = 10
        self.ema_start_epoch = 20
        self.validation_fraction = 0.05
        self.augment = False

    @property
    def is_online(self) -> bool:
        """There are no training runners."""
        return False

    def training(
        self,
        *,
        dataset: str | os.PathLike[str] = NotProvided,
        dataset_split: str | None = NotProvided,
        dataset_memory_limit: float | None = NotProvided,
        min_lr: float = NotProvided,
        lr_warmup_epochs: int = NotProvided,
        lr_cycle_epochs: int = NotProvided,
        weight_decay: float = NotProvided,
        ema_decay: float = NotProvided,
        ema_update_every: int = NotProvided,
        ema_start_epoch: int = NotProvided,
        validation_fraction: float = NotProvided,
        augment: bool = NotProvided,
        **kwargs: Any,
    ) -> ChunkBCConfig:
        """Sets what pre-training adds to the settings of the policy and of RLlib.

        RLlib's `lr` (after the warm-up), `minibatch_size` (over all learners) and `grad_clip` are
        used as well.

        Args:
            dataset: Demonstrations in a LeRobot layout (v3.0, v2.1, v2.0), or `hf://user/name` of
                the Hugging Face Hub; their statistics become the normalisation. Every learner
                reads them.
            dataset_split: Takes some of its episodes: a name of the `splits` of its `info.json`, or
                a range such as "0:80". The statistics are theirs. None takes all.
            dataset_memory_limit: Bytes that demonstrations may take in each learner, which then
                reads them anew in every epoch (`StreamedChunks`); None reads them once.
            min_lr: Learning rate in the first epoch and at the end of a cycle.
            lr_warmup_epochs: Epochs of linear warm-up.
            lr_cycle_epochs: Epochs of a cosine cycle.
            weight_decay: Of AdamW.
            ema_decay: Decay of the running average of the weights, which is the policy.
            ema_update_every: Gradient steps between two updates of the average.
            ema_start_epoch: Until then the average is a copy.
            validation_fraction: Share of the episodes that is held out to measure the loss.
            augment: Shifts training pictures at random.
            kwargs: Other settings.

        Raises:
            FileNotFoundError: There is no dataset.
            ValueError: It cannot be read.
        """
        own = {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}
        self._choose(own.pop("dataset"), own.pop("dataset_split"))
        super().training(**kwargs)
        self._set(own)
        return self

    def _choose(self, dataset: Any, split: Any) -> None:
        """Takes a dataset, or another split; `NotProvided` leaves the present one."""
        if dataset is not NotProvided and dataset is not None:
            on_hub = is_on_hub(dataset)
            self.dataset = pinned(os.fspath(dataset)) if on_hub else os.path.abspath(dataset)
        if split is not NotProvided:
            self.dataset_split = split
        given = any(value is not NotProvided for value in (dataset, split))
        if given and self.dataset is not None:
            self._read_statistics(self.dataset)

    def _read_statistics(self, dataset: str) -> None:
        episodes, root = None, local_dataset(dataset, metadata_only=True)
        if self.dataset_split is not None:
            episodes = DatasetReader(root, cameras=()).split(self.dataset_split)
        statistics = read_statistics(root, episodes=episodes)
        for column in (OBSERVATION, ACTION):
            if column not in statistics:
                raise ValueError(
                    f"dataset={self.dataset}: no statistics of {column}, only of "
                    f"{sorted(statistics)}"
                )
        observations, actions = statistics[OBSERVATION], statistics[ACTION]
        self.normalization = Normalization(
            obs_min=np.asarray(observations["min"], np.float32),
            obs_max=np.asarray(observations["max"], np.float32),
            action_min=np.asarray(actions["min"], np.float32),
            action_max=np.asarray(actions["max"], np.float32),
        ).to_dict()

    def update_from_dict(self, config_dict: dict[str, Any]) -> ChunkBCConfig:
        """As `ChunkConfig`; statistics of the dataset yield to a given normalisation."""
        self._choose(
            config_dict.get("dataset", NotProvided), config_dict.get("dataset_split", NotProvided)
        )
        settled = self.dataset  # an absolute path, or a commit of the Hub
        super().update_from_dict(config_dict)
        self.dataset = settled
        return self

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """`BCModule` with these settings."""
        return RLModuleSpec(module_class=BCModule, model_config=self._policy_fields())

    def get_default_learner_class(self) -> type[BCLearner]:
        """`BCLearner`."""
        return BCLearner

    def validate(self) -> None:
        """Checks all settings before anything is built.

        Raises:
            ValueError: Names field, value and what was expected.
        """
        super().validate()
        if self.dataset is None or self.normalization is None:
            raise ValueError("dataset=None: expected training(dataset='<directory>')")
        if self.augment and self.vision is None:
            raise ValueError("augment=True: there are no pictures to shift with vision=None")
        self._check_whole(("minibatch_size", "ema_update_every"))
        self._check_ranges(("minibatch_size", "ema_update_every", "lr_cycle_epochs"), POSITIVE)
        self._check_ranges(("lr", "min_lr", "lr_warmup_epochs", "weight_decay"), 0)
        self._check_ranges(("ema_start_epoch", "grad_clip"), 0)
        self._check_ranges(("dataset_memory_limit",), POSITIVE)
        self._check_ranges(("ema_decay", "validation_fraction"), 0, 1)
        self._check_lr_schedule("", "epochs")
        self._check_unused(
            {
                "num_epochs": "the number of training iterations, each is an epoch",
                "train_batch_size": "minibatch_size",
                "gamma": "nothing: there is no return in behaviour cloning",
            }
        )
        obs_dim, action_dim = (len(self.normalization[k]) for k in ("obs_min", "action_min"))
        box = gymnasium.spaces.Box
        spaces: dict[str, gymnasium.Space] = {
            "state": box(-np.inf, np.inf, (self.cond_steps, obs_dim), np.float32)
        }
        shape = None
        if self.vision is not None:
            shape = read_image_shape(local_dataset(self.dataset, metadata_only=True))
            if shape is None:
                raise ValueError(
                    f"vision={self.vision}: dataset={self.dataset} has no pictures; set vision=None"
                )
            spaces["rgb"] = box(0, 255, (self.img_cond_steps, *shape), np.uint8)
        self.policy_config(obs_dim, action_dim, shape)
        self._check_memory_limit(self.dataset)
        self.observation_space = gymnasium.spaces.Dict(spaces)
        self.action_space = box(-1, 1, (self.act_steps, action_dim), np.float32)

    def _check_memory_limit(self, dataset: str) -> None:
        """Plans the stream as learners do; raises ValueError if it does not fit."""
        limit = self.dataset_memory_limit
        if limit is None:
            return
        reader = DatasetReader(local_dataset(dataset), cameras=() if self.vision is None else None)
        try:
            StreamedChunks(
                reader,
                None,
                memory_limit=limit,
                horizon_steps=self.horizon_steps,
                episodes=reader.split(self.dataset_split),
            )
        except ValueError as error:
            raise ValueError(f"dataset_memory_limit={limit}: {error}") from error


class ChunkBC(ChunkAlgorithm):
    """Behaviour cloning; one training iteration is one epoch over the demonstrations."""

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """RLlib's restore without its last step, which takes training runners for granted.

        Evaluation runners get their weights with each evaluation.
        """
        Checkpointable.restore_from_path(self, path, *args, **kwargs)

    def training_step(self) -> None:
        """One epoch on all learners."""
        with self.metrics.log_time((TIMERS, LEARNER_UPDATE_TIMER), reduce="mean", window=1):
            results = self.learner_group.foreach_learner(lambda learner: learner.train_epoch())
        self.metrics.aggregate(checked(results), key=LEARNER_RESULTS)
