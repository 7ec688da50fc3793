"""Behaviour policies for demonstrations: a short RLlib PPO run, checkpointed on its way up.

Where a benchmark's demonstrations cannot be had, `collect_demonstrations` makes some. It trains PPO
and tries the policy at intervals; a policy whose mean return lies in `BehaviourSpec.return_range`
is kept, training stops when there are enough of them, and each records the same number of episodes.
Several mediocre policies, each with exploration noise, give data that is worth cloning and leaves
room for fine-tuning.

Reproducibility: everything runs in one process, on one thread, from one seed, so that the same
seed gives the same data with the same machine type and versions of torch, Ray, Gymnasium and
MuJoCo. Other versions or processors round differently, and after some thousand updates the
policies differ: the data is then another sample of the same recipe, with a mean return in the same
range, but not the same numbers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import numpy as np
import ray
import torch
from jaxtyping import Float, Float32
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import MeanStdFilter
from ray.rllib.core import COMPONENT_ENV_TO_MODULE_CONNECTOR
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.utils.filter import RunningStat

from dppo_rllib.datasets.collect import by_row, record_episodes
from dppo_rllib.datasets.demonstrations import Demonstrations
from dppo_rllib.datasets.lerobot import write_demonstrations
from dppo_rllib.errors import UserError
from dppo_rllib.tasks.behaviour_specs import BEHAVIOURS, BehaviourSpec


@dataclass(frozen=True)
class CollectProgress:
    """How far a collection is.

    Attributes:
        stage: "train" counts environment steps (`total` is the budget, training usually stops
            earlier), "record" counts episodes, "write" has neither.
        done: Units done.
        total: Units at most.
        return_mean: Mean return in the latest trial of the policy; None before the first.
        policies: Policies kept so far.
    """

    stage: Literal["train", "record", "write"]
    done: int = 0
    total: int = 0
    return_mean: float | None = None
    policies: int = 0


def _ignore(progress: CollectProgress) -> None:
    del progress


def collect_demonstrations(
    task: str | BehaviourSpec,
    path: str | Path,
    *,
    episodes: int | None = None,
    seed: int = 0,
    progress: Callable[[CollectProgress], None] = _ignore,
) -> Demonstrations:
    """Train behaviour policies, record them, and write a LeRobot data set.

    Starts a local Ray and shuts it down again, unless Ray is already running.

    Args:
        task: A key of `BEHAVIOURS`, or a specification of one's own.
        path: Directory of the new data set. Must not exist.
        episodes: Episodes to record; by default those of the specification.
        seed: Seed of training and recording. See the module's docstring for how far it reaches.
        progress: Called after every training iteration and every recorded episode.

    Returns:
        What was written.

    Raises:
        ValueError: `task` is unknown.
        FileExistsError: `path` exists.
        UserError: The training budget ran out before there were enough policies.
    """
    spec = behaviour_spec(task) if isinstance(task, str) else task
    episodes = spec.episodes if episodes is None else episodes
    if Path(path).exists():  # said before minutes of training, not after
        raise FileExistsError(f"path = {path}: exists already; collection writes a new directory")
    policies = train_behaviour(spec, seed=seed, progress=progress)
    with _one_torch_thread():
        demonstrations = record_episodes(
            spec.make_env,
            by_row(policies),
            episodes=episodes,
            num_envs=-(-spec.num_envs // len(policies)) * len(policies),  # rounded up: equal shares
            seed=seed,
            task=spec.task,
            progress=lambda done, total: progress(CollectProgress("record", done, total)),
        )
    progress(CollectProgress("write"))
    write_demonstrations(demonstrations, path)
    return demonstrations


def behaviour_spec(name: str) -> BehaviourSpec:
    """The specification called `name`.

    Raises:
        ValueError: There is none.
    """
    if name not in BEHAVIOURS:
        raise ValueError(f"task = {name!r}: must be one of {sorted(BEHAVIOURS)}")
    return BEHAVIOURS[name]


@dataclass(frozen=True)
class BehaviourPolicy:
    """A checkpoint of PPO's stochastic policy: raw observations in, environment actions out.

    Attributes:
        module: A copy of the RLModule, with a diagonal Gaussian over actions in [-1, 1].
        obs_mean: Mean of the observations seen in training up to the checkpoint, [Do].
        obs_std: Their standard deviation, [Do].
        obs_clip: Normalised observations are clipped to [-obs_clip, obs_clip].
        action_low: Lower bounds of the action space, [Da].
        action_high: Upper bounds, [Da].
        noise_scale: Multiplies the policy's standard deviation; 0 gives its mean.
    """

    module: RLModule
    obs_mean: Float[np.ndarray, "do"]
    obs_std: Float[np.ndarray, "do"]
    obs_clip: float
    action_low: Float[np.ndarray, "da"]
    action_high: Float[np.ndarray, "da"]
    noise_scale: float = 1.0

    def __call__(
        self, observations: Float32[np.ndarray, "n do"], rng: np.random.Generator
    ) -> Float32[np.ndarray, "n da"]:
        """Sample one action a row; clipped and scaled to the action space as in training."""
        normalized = (observations - self.obs_mean) / (self.obs_std + 1e-8)
        normalized = normalized.clip(-self.obs_clip, self.obs_clip).astype(np.float32)
        with torch.no_grad():
            output = self.module.forward_inference({Columns.OBS: torch.from_numpy(normalized)})
        mean, log_std = np.split(output[Columns.ACTION_DIST_INPUTS].numpy(), 2, axis=-1)
        std = self.noise_scale * np.exp(log_std)
        action = mean + std * rng.standard_normal(mean.shape, dtype=np.float32)
        unit = (action.clip(-1.0, 1.0) + 1.0) / 2.0
        scaled = self.action_low + unit * (self.action_high - self.action_low)
        return scaled.astype(np.float32)


def train_behaviour(
    spec: BehaviourSpec,
    *,
    seed: int = 0,
    progress: Callable[[CollectProgress], None] = _ignore,
) -> list[BehaviourPolicy]:
    """Train PPO and return `spec.num_policies` policies, the least trained first.

    Raises:
        UserError: There were fewer after `spec.max_env_steps`.
    """
    with _local_ray(), _one_torch_thread():
        algo = ppo_config(spec, seed=seed).build_algo()
        try:
            return _train(algo, spec, seed, progress)
        finally:
            algo.stop()


def _train(
    algo: Algorithm, spec: BehaviourSpec, seed: int, progress: Callable[[CollectProgress], None]
) -> list[BehaviourPolicy]:
    low, high = spec.return_range
    kept: list[BehaviourPolicy] = []
    env_steps, return_mean = 0, None
    for iteration in count(1):
        metrics = algo.train()["env_runners"]
        env_steps = int(metrics["num_env_steps_sampled_lifetime"])
        if iteration % spec.check_interval == 0:
            policy = _snapshot(algo, spec)
            return_mean = _mean_return(policy, spec, seed=seed + iteration)
            if low <= return_mean <= high:
                kept.append(policy)
        progress(CollectProgress("train", env_steps, spec.max_env_steps, return_mean, len(kept)))
        if len(kept) == spec.num_policies:
            return kept
        if env_steps >= spec.max_env_steps:
            break
    raise UserError(
        f"{spec.env}: {len(kept)} policies with a mean return in {spec.return_range} after "
        f"{env_steps} environment steps (the latest: {return_mean}), expected {spec.num_policies}; "
        "raise max_env_steps, change return_range, or try another seed"
    )


def _mean_return(policy: BehaviourPolicy, spec: BehaviourSpec, *, seed: int) -> float:
    trial = record_episodes(
        spec.make_env,
        policy,
        episodes=spec.check_episodes,
        num_envs=spec.check_episodes,
        seed=seed,
    )
    return float(trial.episode_returns.mean())


class _ScaledRewardEnv(gym.wrappers.TransformReward):
    """The environment of a specification, as PPO trains on it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        spec: BehaviourSpec = config["spec"]
        super().__init__(spec.make_env(), lambda reward: float(reward) * spec.reward_scale)


def ppo_config(spec: BehaviourSpec, *, seed: int) -> PPOConfig:
    """The training run as a RLlib configuration: one process, no accelerator."""
    return (
        PPOConfig()
        .environment(_ScaledRewardEnv, env_config={"spec": spec})
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=spec.num_envs,
            env_to_module_connector=lambda *_args, **_kwargs: MeanStdFilter(),
        )
        .learners(num_learners=0, num_gpus_per_learner=0)
        .training(
            train_batch_size_per_learner=spec.batch_size,
            minibatch_size=min(128, spec.batch_size),
            num_epochs=10,
            lr=spec.lr,
            gamma=0.99,
            lambda_=0.95,
            clip_param=0.2,
            entropy_coeff=0.0,
            use_kl_loss=False,
            vf_clip_param=float("inf"),  # clips the squared error, not the value: off
            vf_loss_coeff=0.5,
            grad_clip=0.5,
        )
        .rl_module(
            model_config=DefaultModelConfig(
                fcnet_hiddens=list(spec.hidden_sizes),
                fcnet_activation="tanh",
                head_fcnet_hiddens=[],
                vf_share_layers=False,
                free_log_std=True,
            )
        )
        .debugging(seed=seed, log_level="ERROR")
    )


def _snapshot(algo: Algorithm, spec: BehaviourSpec) -> BehaviourPolicy:
    state = algo.env_runner.get_state(components=COMPONENT_ENV_TO_MODULE_CONNECTOR)
    filters = state[COMPONENT_ENV_TO_MODULE_CONNECTOR][MeanStdFilter.__name__]
    obs_filter = filters[None]  # None: the only agent
    stats = RunningStat.from_state(obs_filter["running_stats"][0])
    env = spec.make_env()
    action_space = env.action_space
    env.close()
    assert isinstance(action_space, gym.spaces.Box)
    return BehaviourPolicy(
        module=copy.deepcopy(algo.get_module()),
        obs_mean=np.array(stats.mean),
        obs_std=np.array(stats.std),
        obs_clip=float(obs_filter["clip_by_value"]),
        action_low=action_space.low,
        action_high=action_space.high,
        noise_scale=spec.noise_scale,
    )


@contextmanager
def _local_ray() -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    ray.init(
        address="local",  # whatever else runs on this machine
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        configure_logging=False,
    )
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    # Networks this small are slower on several threads, and their sums depend on how many.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
