"""DPPO on Hopper at the paper's settings: sampling, update, whole iteration.

Run with `make bench` on a quiet machine. Every figure is a median; CPU seconds are summed over
threads and processes. Beside ours stand, measured in turns with it because the speed of a machine
drifts, the floor (the matrix products of the networks alone, in the same shapes) and the same
mathematics written the obvious way: in sampling every network call with its own embeddings and
the base network beside the fine-tuned one; in the update one pass per minibatch, the value network
on every pair, the base network run and discarded; of environments a loop over `gymnasium.make`.
"""

from __future__ import annotations

import math
import os
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from rich.console import Console
from rich.table import Table

from dppo_rllib import DPPOConfig
from dppo_rllib.algorithms.iteration_data import IterationData
from dppo_rllib.algorithms.ppo_loss import normalized_advantages, policy_loss, value_loss
from dppo_rllib.cli.placement import quiet_logs, start_ray
from dppo_rllib.environments import make_chunked_env
from dppo_rllib.rollouts.env_runner import SLOWEST_SAMPLE
from dppo_rllib.tasks import get_task

ENVS, CHUNK_STEPS, FT_STEPS, MINIBATCH = 40, 500, 10, 50_000
OBS_DIM, ACTION_DIM = 11, 3


class Seconds(NamedTuple):
    """Medians of a piece of work."""

    cpu: float
    wall: float


def measure(rounds: int, *works: Callable[[], Any]) -> list[Seconds]:
    """Times pieces of work in turns, after one run of each to warm up."""
    for work in works:
        work()
    samples: list[list[Seconds]] = [[] for _ in works]
    for _ in range(rounds):
        for work, found in zip(works, samples, strict=True):
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            found.append(Seconds(time.process_time() - cpu, time.perf_counter() - wall))
    return [Seconds(*map(statistics.median, zip(*found, strict=True))) for found in samples]


def make_learner() -> Any:
    config = DPPOConfig().environment("Hopper-v5").learners(num_learners=0).debugging(seed=0)
    box = gymnasium.spaces.Box
    obs = gymnasium.spaces.Dict(state=box(-np.inf, np.inf, (1, OBS_DIM)))
    return config.build_learner(spaces={DEFAULT_MODULE_ID: (obs, box(-1, 1, (4, ACTION_DIM)))})


def random_data() -> IterationData:
    rows = ENVS * CHUNK_STEPS
    return IterationData(
        obs={"state": torch.randn(rows, 1, OBS_DIM)},
        chains=torch.randn(rows, FT_STEPS + 1, 4, ACTION_DIM),
        log_probs=torch.randn(rows, FT_STEPS),
        values=torch.randn(rows),
        returns=torch.randn(rows),
        advantages=torch.randn(rows),
        own_row=None,
    )


def plain_update(learner: Any, data: IterationData, pairs: torch.Tensor) -> None:
    """The obvious way to the same gradients."""
    module, config = learner.module[DEFAULT_MODULE_ID], learner.config
    policy = module.policy
    for optimizer in learner._optimizer_parameters:
        optimizer.zero_grad(set_to_none=True)
    row, step = pairs // FT_STEPS, pairs % FT_STEPS
    obs = {"state": data.obs["state"][row]}
    x, x_next = data.chains[row, step], data.chains[row, step + 1]
    index = step + policy.process.config.sampler_steps - FT_STEPS
    with torch.no_grad():
        timesteps = policy.process.table.timestep[index]
        policy.actor(x, policy.actor.embed_time(timesteps), policy.actor.encode(obs))
    advantages = normalized_advantages(
        data.advantages[row], normalize=True, lower_quantile=0, upper_quantile=1
    )
    discount = torch.tensor([config.gamma_denoising ** (FT_STEPS - 1 - int(k)) for k in step])
    terms = policy_loss(
        policy.log_prob(policy.encode(obs), x, x_next, step),
        data.log_probs[row, step],
        advantages * discount,
        learner._clip_ranges[step],
    )
    values = module.compute_values({Columns.OBS: obs})
    errors = value_loss(values, data.returns[row], data.values[row], None)
    (terms.loss.mean() + config.vf_loss_coeff * errors.mean()).backward()


def gradients(learner: Any) -> torch.Tensor:
    module = learner.module[DEFAULT_MODULE_ID]
    parameters = [*module.policy.actor_ft.parameters(), *module.critic.parameters()]
    return torch.cat([p.grad.flatten() for p in parameters])


def plain_sampling(policy: Any, obs: dict[str, torch.Tensor]) -> torch.Tensor:
    """The obvious way to a chunk, without its log-probabilities."""
    process, batch = policy.process, len(obs["state"])
    x = torch.randn(batch, 4, ACTION_DIM)
    with torch.no_grad():
        for step in range(process.config.sampler_steps):
            index = torch.full((batch,), step)
            timesteps = process.table.timestep[index]
            networks = [policy.actor]
            if step >= process.config.sampler_steps - FT_STEPS:
                networks.append(policy.actor_ft)
            for network in networks:
                output = network(x, network.embed_time(timesteps), network.encode(obs))
            mean, std = process.mean_std(x, output, index)
            std = std.clamp(min=policy.min_sampling_denoising_std)
            x = mean + std * torch.randn_like(x).clamp(-3, 3)
    return x


def step_chunks() -> Callable[[], Any]:
    env = make_chunked_env("Hopper-v5", ENVS // 2, act_steps=4, cond_steps=1)
    env.reset(seed=0)
    rng = np.random.default_rng(0)
    return lambda: env.step(rng.uniform(-1, 1, env.action_space.shape).astype(np.float32))


def step_plainly() -> Callable[[], Any]:
    envs = [gymnasium.make("Hopper-v5") for _ in range(ENVS // 2)]
    for i, env in enumerate(envs):
        env.reset(seed=i)
    rng = np.random.default_rng(0)

    def step() -> None:
        for env in envs:
            for action in rng.uniform(-1, 1, (4, ACTION_DIM)).astype(np.float32):
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
                    break

    return step


def matrix_products(network: torch.nn.Module, rows: int, *, backward: bool) -> Callable[[], Any]:
    """The products of one pass over `rows`, biases included, and nothing else."""
    layers = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    inputs = [torch.randn(rows, layer.in_features) for layer in layers]
    outputs = [torch.randn(rows, layer.out_features) for layer in layers]

    def multiply() -> None:
        with torch.no_grad():
            for layer, x, y in zip(layers, inputs, outputs, strict=True):
                layer(x)
                if backward:
                    y @ layer.weight
                    y.T @ x

    return multiply


def bench_sampling(table: Table) -> None:
    policy = make_learner().module[DEFAULT_MODULE_ID].policy
    obs = {"state": torch.randn(ENVS, 1, OBS_DIM)}
    products = matrix_products(policy.actor.mlp_mean, ENVS, backward=False)
    steps = policy.process.config.sampler_steps
    ours, floor, plain = measure(
        15,
        lambda: [policy.sample(obs) for _ in range(20)],
        lambda: [products() for _ in range(20 * steps)],
        lambda: [plain_sampling(policy, obs) for _ in range(20)],
    )
    table.add_row(
        "sampling, chunk step of 40 envs", "1", f"{ours.cpu * 50:.1f} ms",
        f"{ours.wall * 50:.1f} ms", f"{floor.cpu * 50:.1f} ms", f"{plain.cpu * 50:.1f} ms",
        "18.5 ms", "≤ 10.5 ms CPU",
    )  # fmt: skip


def bench_environments(table: Table) -> None:
    chunks, loop = step_chunks(), step_plainly()
    ours, plain = measure(
        15, lambda: [chunks() for _ in range(20)], lambda: [loop() for _ in range(20)]
    )
    table.add_row(
        "environments, chunk step of 20", "1", f"{ours.cpu * 50:.1f} ms",
        f"{ours.wall * 50:.1f} ms", "", f"{plain.cpu * 50:.1f} ms", "", "",
    )  # fmt: skip


def bench_update(table: Table) -> None:
    learner, data = make_learner(), random_data()
    module = learner.module[DEFAULT_MODULE_ID]
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randperm(data.num_pairs, generator=generator)[:MINIBATCH]
    pieces, piece = divmod(MINIBATCH, 2500)
    assert piece == 0
    critic_pieces = math.ceil(len(torch.unique(pairs // FT_STEPS)) / 2500)
    actor = matrix_products(module.policy.actor_ft.mlp_mean, 2500, backward=True)
    critic = matrix_products(module.critic, 2500, backward=True)
    ours, floor, plain = measure(
        5,
        lambda: learner._accumulate(data, pairs, generator),
        lambda: [work() for work in [actor] * pieces + [critic] * critic_pieces],
        lambda: plain_update(learner, data, pairs),
    )
    expected = gradients(learner)
    learner._accumulate(data, pairs, generator)
    difference = float((expected - gradients(learner)).norm() / expected.norm())
    assert difference < 1e-5, f"gradients differ by {difference:.0e} of their norm"
    table.add_row(
        "update, minibatch of 50,000", "1", f"{ours.cpu:.2f} s", f"{ours.wall:.2f} s",
        f"{floor.cpu:.2f} s", f"{plain.cpu:.2f} s", "4.4 s", "≤ 2.2 s CPU",
    )  # fmt: skip


def process_cpu() -> float:
    return time.process_time()


def total_cpu(algo: Any) -> float:
    runners = algo.env_runner_group.foreach_env_runner(
        lambda runner: time.process_time(), local_env_runner=False
    )
    learners = algo.learner_group.foreach_learner(lambda learner: time.process_time())
    return process_cpu() + sum(runners) + sum(r.get() for r in learners.result_or_errors)


def bench_iteration(table: Table, iterations: int = 3) -> None:
    cores = os.cpu_count() or 1
    config = (
        DPPOConfig()
        .environment("Hopper-v5")
        .training(base_policy=get_task("hopper-medium").base_policy, learner_threads=cores)
        .env_runners(num_env_runners=2, num_envs_per_env_runner=20, num_cpus_per_env_runner=0.25)
        .learners(num_learners=1, num_cpus_per_learner=0.5)
        .debugging(seed=0)
    )
    algo = config.build_algo()
    algo.train()
    cpu, wall, plumbing, memory, steps = [], [], [], [], []
    for _ in range(iterations):
        start_cpu, start_wall = total_cpu(algo), time.perf_counter()
        result = algo.train()
        wall.append(time.perf_counter() - start_wall)
        cpu.append(total_cpu(algo) - start_cpu)
        learner = result["learners"][DEFAULT_MODULE_ID]
        parts = ("transfer", "preparation", "update")
        work = sum(float(learner[f"seconds_{part}"]) for part in parts)
        plumbing.append(wall[-1] - work - float(result["env_runners"][SLOWEST_SAMPLE]))
        steps.append(result["env_runners"]["num_env_steps_sampled"])
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    algo.stop()
    table.add_row(
        f"iteration, {statistics.median(steps):,.0f} env steps", f"2 runners, learner with {cores}",
        f"{statistics.median(cpu):.0f} s", f"{statistics.median(wall):.0f} s",
        "", "", "127 s", "≤ 55 s CPU, ≤ 35 s wall",
    )  # fmt: skip
    table.add_row(
        "  outside of sampling and learning", "", "", f"{statistics.median(plumbing):.2f} s",
        "", "", "", "≤ 0.5 s",
    )  # fmt: skip
    table.add_row(
        "  growth of the driver's peak memory", "", "", f"{memory[-1] - memory[0]:.0f} MiB",
        "", "", "", "0",
    )  # fmt: skip


def main() -> None:
    quiet_logs()
    table = Table(title="DPPO, Hopper at the paper's settings, float32")
    columns = ("what", "threads", "CPU", "wall", "floor", "plain, CPU", "authors' CPU *", "goal *")
    for column in columns:
        table.add_column(column, overflow="fold")
    torch.set_num_threads(1)
    bench_sampling(table)
    bench_environments(table)
    bench_update(table)
    start_ray()
    bench_iteration(table)
    ray.shutdown()
    console = Console(width=max(132, Console().width))
    console.print(table)
    console.print("* On another machine of two cores, where the floor of the update is 1.75 s.")


if __name__ == "__main__":
    main()
