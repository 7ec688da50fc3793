"""An iteration on a cluster, on paper: bytes over the network, seconds on the critical path.

Plain arithmetic. Sizes follow from shapes and networks (tests compare them with the real objects);
settings of the workloads are the authors'; seconds were measured by `benchmarks.scaling` and lie in
`scaling_constants.json`, but for simulators that this package does not have (`Workload.simulator`)
and for what is assumed about a cluster (`Cluster`).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from benchmarks import policies
from benchmarks.pages import as_markdown
from dppo_rllib.algorithms.update_statistics import MinibatchStatistics
from dppo_rllib.modules.diffusion_policy import DiffusionPolicyConfig
from dppo_rllib.networks import Critic, CriticConfig

CONSTANTS = Path(__file__).with_name("scaling_constants.json")
FLOAT = 4  # bytes
# Of a chunk step, besides observations and chains: reward, three flags, executed steps (int64).
STEP_BYTES = FLOAT + 3 + 8
# What learners tell each other of a chunk step: reward (float64), whether it is the first of its
# episode, and advantage, return and value. Each comes with the numbers of the environments, which
# are also exchanged once by themselves (int64).
EXCHANGED, EXCHANGES = 8 + 1 + 3 * FLOAT, 1 + 5


@dataclass(frozen=True)
class Workload:
    """What an iteration is made of.

    Attributes:
        name: In words.
        label: Its row in the table of `benchmarks.policies`, whose policy it is.
        critic: Value network.
        envs: Environments, over all runners.
        chunk_steps: Of each environment and iteration.
        minibatch: Pairs of chunk step and denoising step between two steps of the optimizer.
        epochs: Passes over all pairs.
        episode: Chunk steps after which an episode is cut.
        whole_episodes: All environments restart with each iteration, which cannot be shorter then.
        augment: Pictures are shifted, and chains scored anew.
        simulator: Environment steps per second of one core; None if this package has it.
    """

    name: str
    label: str
    critic: CriticConfig
    envs: int
    chunk_steps: int
    minibatch: int
    epochs: int
    episode: int
    whole_episodes: bool = False
    augment: bool = False
    simulator: float | None = None

    @cached_property
    def policy(self) -> DiffusionPolicyConfig:
        """The authors' policy."""
        [row] = [row for row in policies.all_rows() if row.label == self.label]
        return row.config

    @property
    def rows(self) -> int:
        """Chunk steps of all environments."""
        return self.envs * self.chunk_steps

    @property
    def share(self) -> float:
        """Of an iteration's pairs that are in one minibatch."""
        return self.minibatch / (self.rows * self.policy.ft_denoising_steps)

    @cached_property
    def sizes(self) -> Sizes:
        """Its bytes."""
        return Sizes.of(self.policy, self.critic)


WORKLOADS = (
    Workload(
        name="Hopper",
        label="Hopper, MLP 3 × 512, DDPM 20, K' 10",
        critic=CriticConfig(),
        envs=40,
        chunk_steps=500,
        minibatch=50_000,
        epochs=5,
        episode=250,
    ),
    Workload(
        name="Robomimic Can, pictures",
        label="Can, pictures, MLP 3 × 512, ViT, DDIM 5 of 100, K' 5",
        critic=CriticConfig(),
        envs=50,
        chunk_steps=300,
        minibatch=500 * 15,  # `batch_size` times `grad_accumulate`
        epochs=10,
        episode=75,
        augment=True,
        simulator=50,
    ),
    Workload(
        name="Furniture-Bench One-leg",
        label="One-leg, U-Net 64, 128, 256, DDIM 5 of 100, K' 5",
        critic=CriticConfig(mlp_dims=(512, 512, 512)),
        envs=1000,
        chunk_steps=88,
        minibatch=30_000,
        epochs=5,
        episode=88,
        whole_episodes=True,
        simulator=50,
    ),
)


# --- Bytes ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sizes:
    """Bytes of what travels.

    Attributes:
        observation: An observation history.
        chunk_step: All that is kept of a chunk step of one environment.
        weights: What a runner gets for an iteration.
        gradients: What learners sum in each minibatch, statistics included.
    """

    observation: int
    chunk_step: int
    weights: int
    gradients: int

    @classmethod
    def of(cls, policy: DiffusionPolicyConfig, critic: CriticConfig) -> Sizes:
        """From shapes and networks, of which nothing is allocated."""
        with torch.device("meta"):
            actor, value = policy.build_network(), Critic(critic, policy.observation_spec)
            statistics = MinibatchStatistics(policy.ft_denoising_steps, torch.device("meta"))
        trained = sum(p.numel() for network in (actor, value) for p in network.parameters())
        state = sum(tensor.nbytes for tensor in actor.state_dict().values())
        observation = FLOAT * policy.cond_steps * policy.obs_dim
        if policy.image_shape is not None and policy.vision is not None:
            observation += policy.vision.img_cond_steps * math.prod(policy.image_shape)
        chunk, steps = policy.horizon_steps * policy.action_dim, policy.ft_denoising_steps
        return cls(
            observation=observation,
            chunk_step=observation + FLOAT * (chunk * (steps + 1) + steps) + STEP_BYTES,
            weights=state + 2 * 8,  # and two annealed values
            gradients=FLOAT * (trained + statistics.sums.numel()),
        )

    def trajectories(self, envs: int, chunk_steps: int, truncated: float) -> float:
        """Trajectories of some environments, with so many episodes cut in them."""
        last = envs * (self.observation + 8) + truncated * (self.observation + 2 * 8)
        return envs * chunk_steps * self.chunk_step + last


def exchanged_bytes(envs: int, chunk_steps: int) -> int:
    """What all learners together tell the others to prepare an iteration, if there are several."""
    return envs * chunk_steps * EXCHANGED + envs * EXCHANGES * 8


# --- Seconds ----------------------------------------------------------------------------------


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


# --- Constants and tables ---------------------------------------------------------------------


@dataclass(frozen=True)
class Constants:
    """What was measured, and on which machine.

    Attributes:
        machine: In words.
        quiet: Nothing else was running.
        driver: Of the driver.
        costs: By the name of a workload.
    """

    machine: str
    quiet: bool
    driver: Driver
    costs: dict[str, Costs]

    def save(self, path: Path = CONSTANTS) -> None:
        """Writes them down, seconds with four digits."""
        kept = json.loads(json.dumps(asdict(self)), parse_float=lambda s: float(f"{float(s):.4g}"))
        path.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: Path = CONSTANTS) -> Constants:
        """Inverse of `save`."""
        values: dict[str, Any] = json.loads(path.read_text())
        costs = {name: Costs(**cost) for name, cost in values["costs"].items()}
        return cls(values["machine"], values["quiet"], Driver(**values["driver"]), costs)


RUNNERS = (1, 8, 64, 512)
LEARNERS = (Layout(1), Layout(1, speed=100), Layout(1, learners=4, speed=100))

Lines = list[list[str]]


def figure(value: float) -> str:
    """Three digits, never as a power of ten."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if rounded >= 100 else f"{rounded:.10f}".rstrip("0").rstrip(".")


def workload_lines() -> Lines:
    """Settings, all of them the authors'."""
    head = ["task", "environments", "chunk steps", "pairs", "minibatch", "epochs", "updates"]
    lines = [head]
    for work in WORKLOADS:
        pairs = work.rows * work.policy.ft_denoising_steps
        updates = work.epochs * (pairs // work.minibatch)
        counts = (work.envs, work.rows, pairs, work.minibatch, work.epochs, updates)
        lines.append([work.name, *(f"{count:,}" for count in counts)])
    return lines


def byte_lines() -> Lines:
    """What travels in an iteration."""
    head = ["task", "B a chunk step", "trajectories, MB", "weights, MB a machine"]
    lines = [[*head, "gradients, MB a minibatch", "among learners, MB an iteration"]]
    for work in WORKLOADS:
        sizes = work.sizes
        megabytes = (
            sizes.trajectories(work.envs, work.chunk_steps, work.rows / work.episode),
            *(sizes.weights, sizes.gradients),
            exchanged_bytes(work.envs, work.chunk_steps),
        )
        row = [work.name, f"{sizes.chunk_step:,}", *(figure(size / 1e6) for size in megabytes)]
        lines.append(row)
    return lines


def constant_lines(constants: Constants) -> Lines:
    """Seconds of one thread, in milliseconds."""
    head = ["task", "simulation, a chunk", "policy, a call", "policy, a chunk more"]
    lines = [[*head, "preparation, a chunk step", "update, a pair", "optimizer, a step"]]
    for work in WORKLOADS:
        cost = constants.costs[work.name]
        seconds = (cost.env_seconds(work), cost.call, cost.chunk, cost.row, cost.pair, cost.step)
        shown = [figure(1e3 * s) for s in seconds]
        shown[0] += "" if work.simulator is None else f" ({work.simulator:g} steps/s)"
        lines.append([work.name, *shown])
    return lines


def prediction_lines(workload: Workload, constants: Constants) -> Lines:
    """Seconds of every stage, for every number of runners and kind of learners."""
    lines: Lines = []
    costs, driver = constants.costs[workload.name], constants.driver
    for kind in LEARNERS:
        layouts = [Layout(runners, kind.learners, kind.speed) for runners in RUNNERS]
        found = [predict(workload, costs, driver, layout, Cluster()) for layout in layouts]
        for layout, iteration in zip(layouts, found, strict=True):
            share = Share.of(workload, layout)
            seconds = (*iteration.stages.values(), iteration.seconds)
            lines.append(
                [kind.words, f"{layout.runners}", f"{share.envs:,} × {share.chunk_steps:,}"]
                + [figure(iteration.sent / 1e6), *map(figure, seconds)]
                + [f"{100 * efficiency(found[0], iteration, layout.runners):.3g} %"]
                + [iteration.bottleneck]
            )
    head = ["learners", "runners", "each", "MB sent", *found[0].stages]
    return [[*head, "iteration", "efficiency", "first bottleneck"], *lines]


def tables(constants: Constants) -> dict[str, tuple[Lines, int]]:
    """Titles, lines and how many of their columns are words."""
    found = {
        "Settings of an iteration, from the authors' configurations": (workload_lines(), 1),
        "Bytes of an iteration": (byte_lines(), 1),
        "Milliseconds of one thread": (constant_lines(constants), 1),
    }
    for work in WORKLOADS:
        found[f"{work.name}, seconds of an iteration"] = (prediction_lines(work, constants), 1)
    return found


def as_page(constants: Constants) -> str:
    """All tables, and what they rest on."""
    driver = constants.driver
    quiet = "" if constants.quiet else " **The machine was not quiet: provisional figures.**"
    note = (
        f"Constants measured on {constants.machine}.{quiet} The driver takes "
        f"{figure(1e3 * driver.iteration)} ms an iteration and {figure(1e3 * driver.runner)} ms a "
        "runner."
    )
    texts = [as_markdown(title, lines, left) for title, (lines, left) in tables(constants).items()]
    return "\n\n".join([note, *texts])
