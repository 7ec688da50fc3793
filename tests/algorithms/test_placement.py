"""Dividing clusters, real and described, among the processes of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray
from ray._raylet import GCS_AUTOSCALER_CLUSTER_CONFIG_KEY, GCS_AUTOSCALER_STATE_NAMESPACE
from ray.cluster_utils import Cluster as LocalCluster
from ray.core.generated.autoscaler_pb2 import ClusterConfig
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_put
from ray.tune import PlacementGroupFactory

from dppo_rllib import DPPOConfig
from dppo_rllib.algorithms.memory import expected_memory
from dppo_rllib.algorithms.placement import Cluster, Request, place


def node(cpus: float, gpus: float = 0) -> dict[str, float]:
    return {"CPU": cpus, "GPU": gpus}


def forty_environments(runners: int = 1, learners: int = 1) -> DPPOConfig:
    return (
        DPPOConfig()
        .environment("Pendulum-v1")
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=40 // max(1, runners))
        .learners(num_learners=learners)
    )


@pytest.mark.parametrize(
    ("cluster", "learners", "runners", "gpus"),
    [
        ([node(4)], 1, 4, 0),
        ([node(6)], 0, 5, 0),  # a divisor of 40
        ([node(16, 1)], 1, 10, 1),
        ([node(4), node(8)], 1, 10, 0),  # a core each for the main process and the learner
        ([node(4, 2), node(32)], 2, 20, 1),  # each runner has an environment for each learner
        ([node(4, 1), node(4)], 2, 5, 0),  # two learners cannot share a GPU
    ],
)
def test_automatic_division_uses_the_cluster_and_fits(
    cluster: list[dict[str, float]], learners: int, runners: int, gpus: int
) -> None:
    config = forty_environments(learners=learners)
    place(config, Cluster(cluster))
    assert (config.num_env_runners, config.num_gpus_per_learner) == (runners, gpus)
    assert config.num_env_runners * config.num_envs_per_env_runner == 40
    Request.of(config).check(Cluster(cluster), "it")


def test_what_the_user_chose_stays() -> None:
    config = forty_environments(runners=8)
    config.num_gpus_per_learner = 0
    place(config, Cluster([node(4, 1)]), {"num_env_runners", "num_gpus_per_learner"})
    assert (config.num_env_runners, config.num_gpus_per_learner) == (8, 0)


def test_a_learner_leaves_runners_the_share_of_a_gpu_that_they_were_given() -> None:
    config, cluster = forty_environments(), Cluster([node(8, 1)])
    config.num_gpus_per_env_runner = 0.5
    place(config, cluster, {"num_env_runners", "num_gpus_per_env_runner"})
    assert (config.num_env_runners, config.num_gpus_per_learner) == (1, 0.5)
    Request.of(config).check(cluster, "it")


def test_runs_of_a_sweep_share_cores_and_gpus() -> None:
    config, cluster = forty_environments(), Cluster([node(8, 1)])
    place(config, cluster, trials=4)
    assert (config.num_env_runners, config.learner_threads) == (2, 2)
    assert config.num_gpus_per_learner == 0.25
    four = Request(Request.of(config).bundles * 4)
    assert four.fits(cluster.nodes)


@pytest.mark.parametrize(
    ("bundles", "strategy", "cluster", "message"),
    [
        ([node(1)] * 5, "PACK", Cluster([node(2), node(2)]), "need 5 CPUs, but there are 4 in all"),
        ([{"CPU": 4}], "PACK", Cluster([node(2), node(2)]), "needs 4 CPUs on one node"),
        ([{"CPU": 2}] * 2, "PACK", Cluster([node(3), node(1)]), "cannot be divided among"),
        ([{"GPU": 1}], "PACK", Cluster([node(2)]), "need 1 GPUs, but there are 0"),
        ([{"CPU": 1}] * 3, "STRICT_SPREAD", Cluster([node(4)] * 2), "cannot be divided among"),
        ([{"CPU": 1}] * 3, "STRICT_PACK", Cluster([node(2)] * 2), "cannot be divided among"),
        (
            [{"CPU": 4}] * 3,
            "PACK",
            Cluster([node(1)], growth=[({"CPU": 4.0}, 2)]),
            "need 12 CPUs, but there are 9 in all",
        ),
    ],
)
def test_what_can_never_start_is_refused(
    bundles: list[dict[str, float]], strategy: str, cluster: Cluster, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Request(bundles, strategy).check(cluster, "--runners 8")


@pytest.mark.parametrize(
    "cluster",
    [
        Cluster([node(1)], growth=[({"CPU": 4.0}, 3)]),
        Cluster([node(1)], growth=[({"CPU": 4.0}, float("inf"))]),
        Cluster([node(1)], grows_unknown=True),
    ],
)
def test_a_cluster_that_can_grow_enough_is_allowed_to(cluster: Cluster) -> None:
    Request([{"CPU": 4}] * 3).check(cluster, "--runners 3")


def test_memory_grows_with_what_is_kept() -> None:
    config = forty_environments(runners=2)
    policy = config.policy_config(obs_dim=3, action_dim=1)
    few = expected_memory(config, policy)
    config.rollout_fragment_length *= 10
    many = expected_memory(config, policy)
    assert many.trajectories == 10 * few.trajectories
    assert many.learner - few.learner > 2 * (many.trajectories - few.trajectories)
    assert many.main == few.main


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[None]:
    ray.shutdown()
    cluster = LocalCluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=2)
    ray.init(cluster.address, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.parametrize(
    "bundles", [[{"CPU": 2}, {"CPU": 1}], [{"CPU": 0.5}] * 6, [{"CPU": 3}], [{"CPU": 1.5}] * 2]
)
def test_the_verdict_is_the_one_of_ray(two_nodes: None, bundles: list[dict[str, float]]) -> None:
    cluster = Cluster.connected()
    assert cluster.total("CPU") == 3
    assert not cluster.grows_unknown
    group = PlacementGroupFactory(bundles).to_placement_group()
    placed = group.wait(timeout_seconds=1.5)
    ray.util.remove_placement_group(group)
    assert Request(bundles).fits(cluster.nodes) == placed


def test_the_maximum_that_an_autoscaler_reports_counts(two_nodes: None) -> None:
    config = ClusterConfig()
    group = config.node_group_configs.add(name="workers", min_count=0, max_count=5)
    group.resources["CPU"] = 2
    where = {"namespace": GCS_AUTOSCALER_STATE_NAMESPACE.encode()}
    key = GCS_AUTOSCALER_CLUSTER_CONFIG_KEY.encode()
    _internal_kv_put(key, config.SerializeToString(), **where)
    try:
        cluster = Cluster.connected()
    finally:
        _internal_kv_del(key, **where)
    assert cluster.growth == [({"CPU": 2.0}, 4)]  # one of them is there
    Request([{"CPU": 2}] * 5).check(cluster, "--runners 5")
    with pytest.raises(ValueError, match="need 12 CPUs"):
        Request([{"CPU": 2}] * 6).check(cluster, "--runners 6")
