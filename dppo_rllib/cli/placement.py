"""Who gets which processors and accelerators."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dppo_rllib.algorithms.chunk_config import ChunkConfig


def default_runners(num_envs: int) -> int:
    """Number of cores, lowered to a divisor of `num_envs`."""
    # A container or a batch system may leave this process fewer cores than there are.
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(n for n in range(1, min(cores, num_envs) + 1) if num_envs % n == 0)


def quiet_logs() -> None:
    """Hides Ray's warnings in this process; its errors stay."""
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


def start_ray() -> None:
    """Connects to a running Ray (`RAY_ADDRESS`, a job of `ray job submit`), else starts one."""
    import ray

    if ray.is_initialized():
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if os.environ.get("RAY_ADDRESS"):
        ray.init(**quiet)
    else:
        ray.init(include_dashboard=False, **quiet)


def place(config: ChunkConfig, chosen: set[str]) -> None:
    """Divides the cluster among main process, learners and runners.

    On one machine runners and learners take turns, so that each may use all cores in its turn:
    what Ray reserves is then only what lets them all start. On a cluster every runner and learner
    reserves a core, which spreads them.

    Args:
        config: The configuration; changed.
        chosen: Names of settings that the user gave, which stay.

    Raises:
        ValueError: The cluster is too small; Ray would wait for it to grow.
    """
    import ray

    nodes = [node for node in ray.nodes() if node["Alive"]]
    resources = ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    settings: dict[str, Any] = {}
    if len(nodes) > 1:
        settings |= {"num_cpus_per_env_runner": 1, "num_cpus_per_learner": 1}
    else:
        share = _fitting_share(config, resources.get("CPU", 1.0))
        settings |= {
            "num_cpus_for_main_process": share["main"],
            "num_cpus_per_learner": share["learner"],
            "num_cpus_per_env_runner": share["runner"],
            "learner_threads": max(1, int(resources.get("CPU", 1)) // max(1, config.num_learners)),
        }
    if 0 < max(1, config.num_learners) <= gpus:
        settings["num_gpus_per_learner"] = 1
    for name, value in settings.items():
        if name not in chosen:
            setattr(config, name, value)
    _check_fits(config, resources)


def _check_fits(config: ChunkConfig, resources: dict[str, float]) -> None:
    runners, learners = config.num_env_runners, config.num_learners
    per_learner = config.num_cpus_per_learner
    cpus = (
        config.num_cpus_for_main_process
        + runners * config.num_cpus_per_env_runner
        + learners * (1 if per_learner == "auto" else per_learner)
    )
    gpus = runners * config.num_gpus_per_env_runner
    gpus += max(1, learners) * config.num_gpus_per_learner
    for kind, asked in (("CPU", cpus), ("GPU", gpus)):
        if asked > resources.get(kind, 0) + 1e-6:
            raise ValueError(
                f"--runners {runners} --learners {learners}: need {asked:g} {kind}s, but Ray has "
                f"{resources.get(kind, 0):g}; expected fewer of them, or smaller shares with --set "
                f"num_{kind.lower()}s_per_env_runner and num_{kind.lower()}s_per_learner"
            )


def _fitting_share(config: ChunkConfig, cpus: float) -> dict[str, float]:
    """CPUs each process reserves, halved until all fit."""
    share = {"main": 1.0, "learner": 0.5, "runner": 0.25}
    counts = {"main": 1, "learner": config.num_learners, "runner": config.num_env_runners}
    for name in ("main", *["runner", "learner", "main"] * 5):
        if sum(share[part] * counts[part] for part in share) <= cpus:
            break
        share[name] /= 2
    return share
