"""Starting Ray, and showing who runs where before anything does."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from dppo_rllib.algorithms.chunk_config import ChunkConfig
    from dppo_rllib.algorithms.memory import Memory
    from dppo_rllib.algorithms.placement import Cluster

_COMMAND = 600e6  # bytes; measured


def cores() -> int:
    """Of this process: a container or a batch system may leave it fewer than there are."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def quiet_logs() -> None:
    """Hides Ray's warnings in this process; its errors stay."""
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)


def start_ray() -> None:
    """Connects to a running Ray (`RAY_ADDRESS`, a job of `ray job submit`), else starts one."""
    import ray

    if ray.is_initialized():
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if not os.environ.get("RAY_ADDRESS"):
        # Not whatever else runs on this machine, which may end before we do.
        options |= {"address": "local", "include_dashboard": False}
        if cores() < (os.cpu_count() or 1):
            options["num_cpus"] = cores()  # Ray counts all
    ray.init(**options)


def placement_table(config: ChunkConfig, cluster: Cluster, memory: Memory) -> Table:
    """Who runs where: processes, what Ray reserves for each, and the memory each will need."""
    from rich.table import Table

    table = Table(title="Who runs where", caption=_caption(cluster, memory), caption_justify="left")
    table.add_column("")
    for heading in ("processes", "CPUs", "GPUs", "environments", "memory"):
        table.add_column(heading, justify="right")
    table.add_row("this command", "1", "0", "0", "", _gigabytes(_COMMAND))
    threads = config.learner_threads or 1
    per_learner = config.num_cpus_per_learner
    reserved = "1" if per_learner == "auto" else f"{per_learner:g}"
    learner = (
        f"{reserved} ({threads} threads)" if threads > 1 else reserved,
        f"{config.num_gpus_per_learner:g}",
    )
    envs, runners = str(config.num_envs_per_env_runner), config.num_env_runners
    parts = ["main process"]
    if config.num_learners == 0:
        parts.append("learner")
    if config.is_online and runners == 0:
        parts.append("environments")
    main_cpus = f"{config.num_cpus_for_main_process:g}"
    table.add_row(
        " with ".join([parts[0], " and ".join(parts[1:])]) if parts[1:] else parts[0],
        "1",
        *(learner if config.num_learners == 0 else (main_cpus, "0")),
        envs if "environments" in parts else "",
        _gigabytes(memory.main),
    )
    if config.num_learners > 0:
        rows = (*learner, "", _gigabytes(memory.learner))
        table.add_row("learner", str(config.num_learners), *rows)
    if config.is_online and runners > 0:
        runner = (f"{config.num_cpus_per_env_runner:g}", f"{config.num_gpus_per_env_runner:g}")
        table.add_row("runner", str(runners), *runner, envs, _gigabytes(memory.runner))
    return table


def _caption(cluster: Cluster, memory: Memory) -> str:
    text = (
        f"Ray divides them among {cluster}. Figures are of each process; CPUs and GPUs are what "
        "Ray reserves. Memory is estimated from networks, data and the measured size of a process; "
    )
    if memory.trajectories:
        text += f"trajectories take another {_gigabytes(memory.trajectories)} of object stores; "
    return text + "large simulators and GPUs are not counted."


def _gpus_of_environments(config: ChunkConfig) -> float:
    """Of each process that steps environments."""
    if config.num_env_runners > 0:
        return float(config.num_gpus_per_env_runner)
    return float(config.num_gpus_per_learner) if config.num_learners == 0 else 0.0


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.0f} MB"


def warnings(
    config: ChunkConfig, cluster: Cluster, memory: Memory, *, waits: bool, gpu_simulator: bool
) -> list[str]:
    """What may go wrong, in words.

    Args:
        config: What will run.
        cluster: Where.
        memory: What it needs.
        waits: It fits, but not beside what runs already.
        gpu_simulator: The environments are made for a GPU.
    """
    found = []
    if gpu_simulator and config.is_online and not _gpus_of_environments(config):
        found.append(
            "The simulator is made for a GPU, but none is reserved for the process that it is in: "
            "it may do without, very slowly, or fail. `--runners 0 --learners 0` has it share the "
            "learner's; `--set num_gpus_per_env_runner=...` gives each runner a share."
        )
    if waits:
        found.append("The cluster is busy, or grows first: training waits for its processes.")
    runners = config.num_env_runners if config.is_online else 0
    needed = _COMMAND + memory.main + config.num_learners * memory.learner + runners * memory.runner
    there = cluster.total("memory") + cluster.total("object_store_memory")
    if there and needed + memory.trajectories > there:
        found.append(
            f"About {_gigabytes(needed)} of memory are needed, but Ray has {_gigabytes(there)}: "
            "processes may be killed."
        )
    return found
