"""An iteration on a cluster, on paper: the seconds of its critical path.

Plain arithmetic on `workloads`, on seconds that `scaling` has measured, and on what is assumed
about a cluster (`Cluster`). Simulators that this package does not have are as fast as their
workload says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from benchmarks.workloads import EXCHANGES, Workload, exchanged_bytes


@dataclass(frozen=True)
class Costs:
    """Measured seconds of one thread, for a workload.

    Attributes:
        call: Sampling, whatever the number of chunks.
        chunk: Sampling, each chunk in addition.
        env: A chunk of actions in one environment; None where `Workload.simulator` tells.
        row: Preparing a chunk step: joining shards, values, advantages, chains scored anew.
        pair: Gradients of actor and critic for a pair.
        step: A step of the optimizers.
    """

    call: float
    chunk: float
    env: float | None
    row: float
    pair: float
    step: float

    def env_seconds(self, workload: Workload) -> float:
        """A chunk of actions in one environment."""
        if workload.simulator is not None:
            return workload.policy.act_steps / workload.simulator
        assert self.env is not None, workload.name
        return self.env


@dataclass(frozen=True)
class Driver:
    """Measured seconds of the driver.

    Attributes:
        iteration: Outside of sampling and learning, with one runner and one learner.
        runner: For each runner: calling it, and taking its metrics in.
    """

    iteration: float
    runner: float


@dataclass(frozen=True)
class Cluster:
    """What is assumed about machines and network; none of this was measured.

    Attributes:
        bandwidth: Bytes per second into a machine, and out of it.
        latency: Seconds until a message arrives.
        cores: Runners of a machine, one on each of its cores.
        spread: Deviation of the seconds in which equal runners sample, as a share of them.
    """

    bandwidth: float = 10e9 / 8
    latency: float = 1e-4
    cores: int = 32
    spread: float = 0.05


@dataclass(frozen=True)
class Layout:
    """Who works.

    Attributes:
        runners: One core each.
        learners: One machine each.
        speed: How often a learner is as fast as the core that was measured.
    """

    runners: int
    learners: int = 1
    speed: float = 1.0

    @property
    def words(self) -> str:
        """The learners: how many, how fast."""
        return f"{self.learners} × {self.speed:g}"


@dataclass(frozen=True)
class Share:
    """What each runner samples in an iteration."""

    envs: int
    chunk_steps: int

    @classmethod
    def of(cls, workload: Workload, layout: Layout) -> Share:
        """The environments are dealt out; where there are too few, there are more for less long.

        Each runner has one for each learner at least.
        """
        envs = max(layout.learners, math.ceil(workload.envs / layout.runners))
        if workload.whole_episodes:
            return cls(envs, workload.chunk_steps)
        return cls(envs, math.ceil(workload.rows / (envs * layout.runners)))


@dataclass(frozen=True)
class Iteration:
    """The critical path of an iteration: no stage starts before the one above has ended.

    Attributes:
        rows: Chunk steps that it samples and learns from.
        sent: Bytes that machines send, all together.
        stages: Seconds, in order.
    """

    rows: int
    sent: float
    stages: dict[str, float]

    @property
    def seconds(self) -> float:
        """All in all."""
        return sum(self.stages.values())

    @property
    def bottleneck(self) -> str:
        """The stage that takes longest."""
        return max(self.stages, key=self.stages.__getitem__)


def predict(
    workload: Workload, costs: Costs, driver: Driver, layout: Layout, cluster: Cluster
) -> Iteration:
    """An iteration with the runners and learners of `layout`."""
    sizes, share = workload.sizes, Share.of(workload, layout)
    runners, learners = layout.runners, layout.learners
    machines = math.ceil(runners / cluster.cores)
    envs, steps = runners * share.envs, share.chunk_steps
    rows = envs * steps
    pairs = rows * workload.policy.ft_denoising_steps
    size = min(workload.minibatch, pairs)
    minibatches = workload.epochs * (pairs // size)

    stepping = steps * share.envs * costs.env_seconds(workload)
    acting = steps * (costs.call + share.envs * costs.chunk)
    slowest = cluster.spread * math.sqrt(2 * math.log(runners))  # of so many normal ones, at most
    # The first learner sends weights to each machine, the machines of the runners send shards.
    weights = machines * sizes.weights
    trajectories = sizes.trajectories(envs, steps, rows / workload.episode)
    fetching = trajectories / min(learners, machines)
    # A learner takes in what the others have. Gradients go round a ring: each learner sends nearly
    # all of them twice, in 2 (m - 1) messages.
    others = learners - 1
    told = others * exchanged_bytes(envs, steps)
    summed = 2 * others * sizes.gradients
    summing = summed / learners / cluster.bandwidth + 2 * others * cluster.latency
    preparation = rows * costs.row / learners / layout.speed
    if others:
        preparation += told / learners / cluster.bandwidth + EXCHANGES * cluster.latency
    return Iteration(
        rows,
        weights + trajectories + told + minibatches * summed,
        {
            "weights": weights / cluster.bandwidth + cluster.latency,
            "simulation": stepping,
            "policy": acting,
            "slowest": slowest * (stepping + acting),
            "fetching": fetching / cluster.bandwidth + cluster.latency,
            "preparation": preparation,
            "update": minibatches * (size * costs.pair / learners + costs.step) / layout.speed,
            "gradients": minibatches * summing,
            "driver": driver.iteration + runners * driver.runner,
        },
    )


def efficiency(alone: Iteration, together: Iteration, runners: int) -> float:
    """Chunk steps per second as a share of `runners` times those of one runner.

    Args:
        alone: With one runner, and the same learners.
        together: With all of them.
        runners: How many.
    """
    return (together.rows / together.seconds) / (runners * alone.rows / alone.seconds)
