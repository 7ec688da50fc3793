"""Dividing a cluster among main process, learners and runners, and telling whether they fit."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray._private.state import state
from ray.experimental.internal_kv import _internal_kv_get

from dppo_rllib.algorithms.chunk_config import ChunkConfig

Resources = Mapping[str, float]
_SMALLEST = 1e-4  # Ray counts resources in ten-thousandths
_READ_ONLY = "node_"  # how the types of nodes begin that no autoscaler has started


@dataclass(frozen=True)
class Cluster:
    """What a Ray cluster has, and may come to have.

    Attributes:
        nodes: Resources of each node.
        free: What of them is not in use.
        growth: Resources of nodes that its autoscaler may add, and how many of each.
        grows_unknown: It has an autoscaler that does not tell what it may add.
    """

    nodes: Sequence[Resources]
    free: Sequence[Resources] = ()
    growth: Sequence[tuple[Resources, float]] = field(default=())
    grows_unknown: bool = False

    @classmethod
    def connected(cls) -> Cluster:
        """The one that this process is connected to."""
        nodes = [node for node in ray.nodes() if node["Alive"]]
        free = state.available_resources_per_node()
        resources = [node["Resources"] for node in nodes]
        config = state.get_cluster_config()
        groups = [] if config is None else list(config.node_group_configs)
        return cls(
            nodes=resources,
            free=[free.get(node["NodeID"], {}) for node in nodes],
            growth=[_growth(group, resources) for group in groups if group.resources],
            grows_unknown=not groups and _autoscaled(),
        )

    def possible(self, at_most: int) -> list[Resources]:
        """All nodes that there can be, of each kind that may be added `at_most` so many."""
        added = [kind for kind, count in self.growth for _ in range(int(min(count, at_most)))]
        return [*self.nodes, *added]

    def total(self, kind: str, at_most: int = 0) -> float:
        """Of one resource, over all nodes and `at_most` so many new ones of each kind."""
        return sum(node.get(kind, 0.0) for node in self.possible(at_most))

    def __str__(self) -> str:
        sizes: dict[str, int] = {}
        for node in self.nodes:
            gpus = f" and {node['GPU']:g} GPUs" if node.get("GPU") else ""
            size = f"{node.get('CPU', 0):g} CPUs{gpus}"
            sizes[size] = sizes.get(size, 0) + 1
        words = [f"{count} node{'s' * (count > 1)} of {size}" for size, count in sizes.items()]
        for kind, count in self.growth:
            more = "any number" if count == float("inf") else f"{count:g}"
            words.append(f"up to {more} more of {kind.get('CPU', 0):g} CPUs")
        if self.grows_unknown:
            words.append("more that an autoscaler may start")
        return ", ".join(words)


def _growth(group: Any, nodes: Sequence[Resources]) -> tuple[Resources, float]:
    resources = dict(group.resources)
    alike = sum(all(n.get(k, 0) == v for k, v in resources.items()) for n in nodes)
    return resources, float("inf") if group.max_count < 0 else max(0, group.max_count - alike)


def _autoscaled() -> bool:
    """An autoscaler starts nodes; Ray's own does not say which it could start."""
    status = _internal_kv_get("__autoscaling_status")
    report = json.loads(status).get("autoscaler_report") if status else None
    types = list((report or {}).get("active_nodes", {}))
    return any(not name.startswith(_READ_ONLY) for name in types)


def place(
    config: ChunkConfig, cluster: Cluster, chosen: Collection[str] = (), *, trials: int = 1
) -> None:
    """Settles how many runners there are and what each process reserves.

    On one machine runners and learners take turns, so that each may use all cores in its turn:
    what Ray reserves is then only what lets them all start. On several nodes each runner and each
    learner reserves a core, which spreads them, and there are as many runners as cores are left. A
    learner gets a GPU if there is one for each beside what runners were given.

    Args:
        config: The configuration; changed.
        cluster: What there is.
        chosen: Names of settings that the user gave, which stay.
        trials: How many runs share the cluster at once.

    Raises:
        ValueError: `trials` is not positive.
    """
    if trials < 1:
        raise ValueError(f"trials={trials}: expected at least 1")
    envs = max(1, config.num_env_runners) * config.num_envs_per_env_runner
    learners = config.num_learners
    cpus = cluster.total("CPU", at_most=envs) / trials
    spread = len(cluster.possible(envs)) > 1 and cpus >= 2 + learners
    if config.is_online and "num_env_runners" not in chosen:
        wanted = max(1, int(cpus) - (1 + learners if spread else 0))
        if "num_envs_per_env_runner" not in chosen:
            wanted = _divisor(envs, wanted, least_share=max(1, learners))
            config.num_envs_per_env_runner = envs // wanted
        config.num_env_runners = wanted
    if spread:
        share = dict.fromkeys(("main", "learner", "runner"), 1.0)
        cores = min(node["CPU"] for node in cluster.nodes if node.get("CPU", 0) >= 1)
    else:
        share, cores = _fitting_share(config, cpus), cpus
    of_runners = config.num_env_runners * config.num_gpus_per_env_runner
    gpus = max(0, cluster.total("GPU", at_most=envs) / trials - of_runners) / max(1, learners)
    if gpus < 1:  # several learners of one run cannot share a GPU, runs of one learner can
        gpus = int(gpus * 100) / 100 if learners <= 1 else 0
    settings = {
        "num_cpus_for_main_process": share["main"],
        "num_cpus_per_learner": share["learner"],
        "num_cpus_per_env_runner": share["runner"],
        "num_gpus_per_learner": min(1, gpus),
        "learner_threads": max(1, int(cores) // max(1, learners)),
    }
    for name, value in settings.items():
        if name not in chosen:
            setattr(config, name, value)


def _divisor(envs: int, wanted: int, *, least_share: int) -> int:
    """Most runners, up to `wanted`, among which `envs` can be divided."""
    fitting = (n for n in range(1, min(wanted, envs) + 1) if envs % n == 0)
    return max((n for n in fitting if envs // n >= least_share), default=1)


def _fitting_share(config: ChunkConfig, cpus: float) -> dict[str, float]:
    """CPUs each process reserves, halved until all fit."""
    share = {"main": 1.0, "learner": 0.5, "runner": 0.25}
    counts = {"main": 1, "learner": config.num_learners, "runner": config.num_env_runners}
    for name in ("main", *["runner", "learner", "main"] * 5):
        if sum(share[part] * counts[part] for part in share) <= cpus:
            break
        share[name] /= 2
    return share


@dataclass(frozen=True)
class Request:
    """What Tune reserves for one run: bundles, each of which must lie on one node.

    Attributes:
        bundles: Resources of each.
        strategy: Ray's placement strategy.
    """

    bundles: Sequence[Resources]
    strategy: str = "PACK"

    @classmethod
    def of(cls, config: ChunkConfig) -> Request:
        """That of a configuration."""
        factory = config.algo_class.default_resource_request(config.to_dict())
        return cls([dict(bundle) for bundle in factory.bundles], factory.strategy)

    def fits(self, nodes: Sequence[Resources]) -> bool:
        """Whether Ray can place it: scarce resources first, where least is left, as it does."""
        left = [dict(node) for node in nodes]
        bundles = [dict(bundle) for bundle in self.bundles]
        if self.strategy == "STRICT_PACK":
            kinds = {kind for bundle in bundles for kind in bundle}
            bundles = [{kind: sum(b.get(kind, 0) for b in bundles) for kind in kinds}]
        bundles.sort(key=lambda bundle: (bundle.get("GPU", 0), bundle.get("CPU", 0)), reverse=True)
        for bundle in bundles:
            can = [node for node in left if _has(node, bundle)]
            if not can:
                return False
            node = min(can, key=lambda n: (n.get("GPU", 0), n.get("CPU", 0)))
            for kind, amount in bundle.items():
                node[kind] = node.get(kind, 0) - amount
            if self.strategy == "STRICT_SPREAD":
                left = [other for other in left if other is not node]
        return True

    def check(self, cluster: Cluster, asked: str) -> None:
        """Refuses what could never start: Ray would wait for ever.

        Args:
            cluster: Where.
            asked: What the user asked for, in words.

        Raises:
            ValueError: It does not fit, however far the cluster may grow.
        """
        nodes = cluster.possible(len(self.bundles))
        if cluster.grows_unknown or self.fits(nodes):
            return
        advice = (
            "expected fewer of them, or smaller shares (num_cpus_per_env_runner, "
            "num_cpus_per_learner, num_gpus_per_learner)"
        )
        for kind in sorted({kind for bundle in self.bundles for kind in bundle}):
            needed = sum(bundle.get(kind, 0) for bundle in self.bundles)
            there = sum(node.get(kind, 0) for node in nodes)
            if needed > there + _SMALLEST:
                raise ValueError(
                    f"{asked}: need {needed:g} {kind}s, but there are {there:g} in all "
                    f"({cluster}); {advice}"
                )
        for bundle in self.bundles:
            if not any(_has(node, bundle) for node in nodes):
                words = " and ".join(f"{amount:g} {kind}s" for kind, amount in bundle.items())
                raise ValueError(
                    f"{asked}: one process needs {words} on one node, and no node has as many "
                    f"({cluster}); {advice}"
                )
        raise ValueError(f"{asked}: cannot be divided among the nodes ({cluster}); {advice}")


def _has(node: Resources, bundle: Resources) -> bool:
    return all(node.get(kind, 0) + _SMALLEST >= amount for kind, amount in bundle.items())
