"""How DPPO scales: one and two runners and learners measured, clusters predicted.

Run with `make bench-scaling` on a quiet machine of two cores or more; that also fills in
`docs/scaling.md` and writes down the constants that `scaling_model` predicts from.

Two algorithms do the same work in turns, because the speed of a machine drifts: one has one runner
and one learner, the other two of each. Environments, chunk steps, minibatches and epochs are the
same in all; every process computes with one thread. Runners and learners never work at the same
time, so that two of each need two cores.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import gymnasium
import numpy as np
import ray
import torch
import typer
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS
from ray.rllib.utils.metrics.metrics_logger import MetricsLogger
from rich.console import Console

from benchmarks.hopper import measure, step_chunks
from benchmarks.pages import as_markdown, as_table, fill_in, machine
from benchmarks.scaling_model import Cluster, Costs, Driver, Layout, predict
from benchmarks.scaling_tables import Constants, Lines, as_page, figure, tables
from benchmarks.workloads import WORKLOADS, Workload
from dppo_rllib import DPPOConfig
from dppo_rllib.cli.placement import quiet_logs
from dppo_rllib.rollouts.env_runner import SLOWEST_SAMPLE
from dppo_rllib.rollouts.trajectories import Trajectories, concatenate
from dppo_rllib.tasks import get_task

MEASURED, MODEL = "measured", "model"  # blocks of the page
QUIET = 1.0  # load of a quiet machine at most
ENVS = 40
BATCHES = (1, 50)  # chunks sampled at once
# Chunk steps and pairs that constants are measured on: about a second of work.
ROWS = {"Hopper": 2000, "Robomimic Can, pictures": 512, "Furniture-Bench One-leg": 2000}


# --- One and two of each ----------------------------------------------------------------------


@dataclass
class Rounds:
    """What an algorithm with `count` runners and learners took.

    Attributes:
        count: Runners, and learners.
        sampled: Environment steps per second of sampling, of each round.
        learned: Pairs per second of fetching, preparation and update.
        iterated: Environment steps per second of the whole iteration.
        outside: Seconds of an iteration in which nobody samples or learns.
    """

    count: int
    sampled: list[float] = field(default_factory=list)
    learned: list[float] = field(default_factory=list)
    iterated: list[float] = field(default_factory=list)
    outside: list[float] = field(default_factory=list)

    def train(self, algo: Any) -> None:
        """One more round."""
        config = algo.config
        start = time.perf_counter()
        result = algo.train()
        seconds = time.perf_counter() - start
        found, learner = result[ENV_RUNNER_RESULTS], result[LEARNER_RESULTS][DEFAULT_MODULE_ID]
        pairs = float(learner["num_updates"]) * config.minibatch_size
        parts = ("transfer", "preparation", "update")
        learning = sum(float(learner[f"seconds_{part}"]) for part in parts)
        sampling = float(found[SLOWEST_SAMPLE])
        self.sampled.append(found["num_env_steps_sampled"] / sampling)
        self.learned.append(pairs / learning)
        self.iterated.append(found["num_env_steps_sampled"] / seconds)
        self.outside.append(seconds - sampling - learning)


def build(count: int, chunk_steps: int, minibatch: int, epochs: int) -> Any:
    """Hopper with `count` runners that share 40 environments, and as many learners."""
    config = (
        DPPOConfig()
        .environment("Hopper-v5")
        .training(
            base_policy=get_task("hopper-medium").base_policy,
            minibatch_size=minibatch,
            num_epochs=epochs,
            learner_threads=1,
        )
        .env_runners(
            num_env_runners=count,
            num_envs_per_env_runner=ENVS // count,
            rollout_fragment_length=chunk_steps,
            num_cpus_per_env_runner=0.1,
        )
        .learners(num_learners=count, num_cpus_per_learner=0.1)
        .debugging(seed=0, log_sys_usage=False)
    )
    config.num_cpus_for_main_process = 0.1
    return config.build_algo()


def measure_throughput(
    rounds: int, chunk_steps: int, minibatch: int, epochs: int
) -> tuple[list[Rounds], Driver]:
    """Rounds of one and of two of each, in turns, after one of each to warm up."""
    algos = [build(count, chunk_steps, minibatch, epochs) for count in (1, 2)]
    found = [Rounds(1), Rounds(2)]
    for algo in algos:
        algo.train()
    for _ in range(rounds):
        for algo, mine in zip(algos, found, strict=True):
            mine.train(algo)
    driver = Driver(statistics.median(found[0].outside), seconds_per_runner(algos[1]))
    for algo in algos:
        algo.stop()
    return found, driver


def seconds_per_runner(algo: Any, calls: int = 50, merged: int = 64) -> float:
    """CPU seconds of the driver for a runner: calling it, and taking its metrics in."""
    group = algo.env_runner_group
    runners = group.num_remote_env_runners()

    def call() -> list[Any]:
        return group.foreach_env_runner(lambda runner: 0, local_env_runner=False)

    call()
    start = time.process_time()
    for _ in range(calls):
        call()
    calling = (time.process_time() - start) / calls / runners
    [metrics, *_] = group.foreach_env_runner(
        lambda runner: (runner.sample(num_timesteps=1), runner.get_metrics())[1],
        local_env_runner=False,
    )
    logger = MetricsLogger(root=True)
    start = time.process_time()
    logger.aggregate([metrics] * merged, key=ENV_RUNNER_RESULTS)
    return calling + (time.process_time() - start) / merged


def throughput_lines(found: Sequence[Rounds], expected: Sequence[float]) -> Lines:
    """Medians, what two of each are of twice one, and what was expected of that."""
    lines: Lines = [["what", "1", "2", "efficiency", "predicted"]]
    for (name, words), share in zip(
        {
            "sampled": "sampling, environment steps/s of 1 and 2 runners",
            "learned": "update, pairs/s of 1 and 2 learners",
            "iterated": "iteration, environment steps/s of 1 and 2 of each",
        }.items(),
        expected,
        strict=True,
    ):
        one, two = (statistics.median(getattr(rounds, name)) for rounds in found)
        percent = [f"{100 * value:.0f} %" for value in (two / one / 2, share)]
        lines.append([words, figure(one), figure(two), *percent])
    return lines


def expected_efficiencies(workload: Workload, costs: Costs, driver: Driver) -> list[float]:
    """What the model says of sampling, update and iteration with two of each on one machine."""
    here = Cluster(bandwidth=math.inf, latency=0, spread=0)
    one, two = (predict(workload, costs, driver, Layout(n, n), here) for n in (1, 2))
    sampling, learning = ("simulation", "policy"), ("preparation", "update", "gradients")
    return [
        sum(one.stages[name] for name in names) / sum(two.stages[name] for name in names) / 2
        for names in (sampling, learning, tuple(one.stages))
    ]


# --- Constants --------------------------------------------------------------------------------


def build_learner(workload: Workload) -> Any:
    """A learner of a workload in this process."""
    policy = workload.policy
    config = DPPOConfig().environment("Hopper-v5").learners(num_learners=0).debugging(seed=0)
    config._take_over(policy)
    config.training(critic=workload.critic, augment=workload.augment, learner_threads=1)
    box = gymnasium.spaces.Box
    obs = {"state": box(-np.inf, np.inf, (policy.cond_steps, policy.obs_dim))}
    if policy.image_shape is not None:
        obs["rgb"] = box(0, 255, (1, *policy.image_shape), np.uint8)
    action = box(-1, 1, (policy.act_steps, policy.action_dim))
    return config.build_learner(spaces={DEFAULT_MODULE_ID: (gymnasium.spaces.Dict(obs), action)})


def random_trajectories(workload: Workload, envs: int, chunk_steps: int, first: int) -> Any:
    """Trajectories of the right shapes, of environments from number `first` on."""
    policy, rng = workload.policy, np.random.default_rng(0)
    steps, time_first = policy.ft_denoising_steps, (chunk_steps, envs)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, np.float32)

    def observations(*rows: int) -> dict[str, np.ndarray]:
        obs = {"state": normal(*rows, policy.cond_steps, policy.obs_dim)}
        if policy.image_shape is not None:
            obs["rgb"] = rng.integers(0, 256, (*rows, 1, *policy.image_shape), np.uint8)
        return obs

    return Trajectories(
        obs=observations(*time_first),
        chains=normal(*time_first, steps + 1, policy.horizon_steps, policy.action_dim),
        log_probs=normal(*time_first, steps),
        reward=normal(*time_first),
        terminated=np.zeros(time_first, bool),
        truncated=np.zeros(time_first, bool),
        is_first=np.zeros(time_first, bool),
        env_steps=np.full(time_first, policy.act_steps),
        next_obs=observations(envs),
        final_obs=observations(0),
        final_index=np.empty((0, 2), np.int64),
        env_ids=np.arange(first, first + envs),
    )


def measure_costs(workload: Workload, rounds: int, rows: int) -> Costs:
    """CPU seconds of one thread, for a minibatch that is the same share of fewer chunk steps."""
    learner = build_learner(workload)
    learner._norms = {name: [] for name in learner._networks()}  # as at the start of an update
    policy, generator = learner.module[DEFAULT_MODULE_ID].policy, torch.Generator().manual_seed(0)
    shards = [random_trajectories(workload, 8, rows // 16, first) for first in (0, 8)]
    data = learner._prepare(concatenate(shards))
    share = max(1, round(workload.share * data.num_pairs))
    pairs = torch.randperm(data.num_pairs, generator=generator)[:share]
    batches = [{k: v[:n] for k, v in data.obs.items()} for n in BATCHES]
    works = [
        lambda: policy.sample(batches[0]),
        lambda: policy.sample(batches[1]),
        lambda: learner._prepare(concatenate(shards)),
        lambda: learner._accumulate(data, pairs, generator),
        learner._step,
    ]
    if workload.simulator is None:
        works.append(step_chunks())
    one, many, prepare, accumulate, step, *env = (m.cpu for m in measure(rounds, *works))
    chunk = (many - one) / (BATCHES[1] - BATCHES[0])
    return Costs(
        call=max(0.0, one - BATCHES[0] * chunk),
        chunk=chunk,
        env=env[0] / (ENVS // 2) if env else None,
        row=prepare / len(data.returns),
        pair=accumulate / share,
        step=step,
    )


# --- Command ----------------------------------------------------------------------------------


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Of everything that takes turns.")] = 5,
    chunk_steps: Annotated[
        int, typer.Option(min=1, help="Of each of 40 environments in an iteration.")
    ] = 125,
    minibatch: Annotated[int, typer.Option(min=1, help="Pairs of a minibatch.")] = 50_000,
    epochs: Annotated[int, typer.Option(min=1, help="Of an iteration.")] = 1,
    markdown: Annotated[
        Path | None, typer.Option(help="A page to fill in; constants are then written down too.")
    ] = None,
) -> None:
    """Measures one and two of each and the constants, and predicts iterations on clusters."""
    torch.set_num_threads(1)
    quiet_logs()
    quiet = os.getloadavg()[0] <= QUIET
    console = Console(width=max(180, Console().width))
    with console.status("one and two runners and learners"):
        # Not that of `RAY_ADDRESS`, nor one that happens to run here.
        ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        found, driver = measure_throughput(rounds, chunk_steps, minibatch, epochs)
        ray.shutdown()
    costs = {}
    for work in WORKLOADS:
        with console.status(work.name):
            costs[work.name] = measure_costs(work, rounds, ROWS[work.name])
    hopper = WORKLOADS[0]
    measured = replace(hopper, chunk_steps=chunk_steps, minibatch=minibatch, epochs=epochs)
    expected = expected_efficiencies(measured, costs[hopper.name], driver)
    title = f"Hopper, {ENVS} environments × {chunk_steps} chunk steps, minibatches of {minibatch:,}"
    lines = throughput_lines(found, expected)
    console.print(as_table(title, lines, left=1))
    constants = Constants(machine(torch.device("cpu")), quiet, driver, costs)
    for name, (rows, left) in tables(constants).items():
        console.print(as_table(name, rows, left))
    if not quiet:
        console.print("[bold]The machine is not quiet: these figures are provisional.")
    if markdown is not None:
        constants.save()
        note = "" if quiet else "Not measured on a quiet machine yet: `make bench-scaling`.\n\n"
        text = f"{note}{constants.machine}\n\n{as_markdown(title, lines, left=1)}"
        fill_in(markdown, MEASURED, text)
        fill_in(markdown, MODEL, as_page(Constants.load()))


if __name__ == "__main__":
    typer.run(main)
