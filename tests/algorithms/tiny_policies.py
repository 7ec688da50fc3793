"""Every kind of policy as small as it can be, with a learner and a runner but without actors."""

from __future__ import annotations

from typing import Any

import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.learner.training_data import TrainingData
from two_modes import TwoModes

from dppo_rllib import DPPOConfig, ExactDPPOConfig, GaussianPPOConfig, GMMPPOConfig
from dppo_rllib.algorithms.ppo_learner import ChunkPPOLearner
from dppo_rllib.environments import PixelReach
from dppo_rllib.rollouts.env_runner import ChunkEnvRunner
from dppo_rllib.rollouts.trajectories import Trajectories

MLP: dict[str, Any] = {"type": "mlp", "mlp_dims": (16, 16, 16)}
DENOISER = MLP | {"time_dim": 8}
UNET = {"type": "unet", "dim": 4, "n_groups": 2, "diffusion_step_embed_dim": 4}
TRANSFORMER = {"type": "transformer", "embed_dim": 8, "num_heads": 2, "num_layers": 1}
STATE_DEPENDENT = {"fixed_std": None, "learn_fixed_std": False, "residual": False}
VISION = {"embed_dim": 8, "num_heads": 2, "spatial_emb": 4}
DDIM = {"denoising_steps": 8, "ddim_steps": 4}
ETA = {"kind": "state_action", "mlp_dims": (4,)}
ENVS, CHUNKS, FT_STEPS = 3, 4, 2

KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddpm": (DPPOConfig, {"network": DENOISER}),
    "ddim": (DPPOConfig, {"network": DENOISER, **DDIM}),
    "learned_eta": (DPPOConfig, {"network": DENOISER, **DDIM, "learned_eta": ETA}),
    "unet": (DPPOConfig, {"network": UNET}),
    "pictures": (DPPOConfig, {"network": DENOISER, "vision": VISION}),
    "exact": (ExactDPPOConfig, {"network": DENOISER, "likelihood": {"step_size": 0.25}}),
    "gaussian": (GaussianPPOConfig, {"network": MLP}),
    "gaussian_of_state": (GaussianPPOConfig, {"network": MLP | STATE_DEPENDENT}),
    "gaussian_transformer": (GaussianPPOConfig, {"network": TRANSFORMER}),
    "gaussian_pictures": (GaussianPPOConfig, {"network": MLP, "vision": VISION}),
    "gmm": (GMMPPOConfig, {"network": MLP | {"num_modes": 2}}),
    "gmm_transformer": (GMMPPOConfig, {"network": TRANSFORMER | {"num_modes": 2}}),
}
DIFFUSION = [name for name, (config, _) in KINDS.items() if config in (DPPOConfig, ExactDPPOConfig)]


def tiny_config(kind: str, **training: Any) -> Any:
    """Settings of a kind, everything in this process."""
    config_class, settings = KINDS[kind]
    if kind in DIFFUSION:
        settings = {"denoising_steps": 4, "ft_denoising_steps": FT_STEPS} | settings
    common = {
        "critic": {"mlp_dims": (8, 8, 8)},
        "act_steps": 2,
        "minibatch_size": 10,
        "num_epochs": 1,
        "learner_threads": 1,
        "actor_lr": 1e-3,
        "actor_min_lr": 1e-3,
        "actor_lr_warmup_steps": 0,
    }
    config = (
        config_class()
        .training(**(common | settings | training))
        .env_runners(
            num_env_runners=0, num_envs_per_env_runner=ENVS, rollout_fragment_length=CHUNKS
        )
        .learners(num_learners=0)
        .debugging(seed=3, log_sys_usage=False)
    )
    if config.vision is None:
        return config.environment(TwoModes)
    return config.environment(PixelReach, env_config={"image_size": 16})


def build(config: Any, learner_class: Any = ChunkPPOLearner) -> tuple[Any, ChunkEnvRunner]:
    """A learner, whose fine-tuned network is no longer the base, and a runner."""
    config.learners(learner_class=learner_class).validate()
    runner = ChunkEnvRunner(config=config, worker_index=0)
    learner = config.build_learner(spaces=runner.get_spaces())
    generator = torch.Generator().manual_seed(1)
    for parameter in module_of(learner).policy.actor_ft.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return learner, runner


def rollout(learner: Any, runner: ChunkEnvRunner, iteration: int = 0) -> Trajectories:
    """One iteration with the learner's present weights."""
    result: Any = runner.rollout(1, iteration, learner.acting_state(["actor", "actor_ft", "eta"]))
    return result.shards[0]


def update(learner: Any, trajectories: Trajectories) -> dict[str, float]:
    """Figures of one update."""
    figures = learner.update(TrainingData(batch=trajectories))[DEFAULT_MODULE_ID]
    return {key: float(value.peek()) for key, value in figures.items()}


def module_of(learner: Any) -> Any:
    return learner.module[DEFAULT_MODULE_ID]
