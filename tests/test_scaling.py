"""The model of a cluster has the sizes of real objects, keeps its bounds and fills its page."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_policies import build, module_of, rollout, tiny_config, update

from benchmarks import scaling
from benchmarks.pages import marks
from benchmarks.scaling_model import (
    Cluster,
    Costs,
    Driver,
    Iteration,
    Layout,
    Share,
    efficiency,
    predict,
)
from benchmarks.scaling_tables import Constants, as_page, figure
from benchmarks.workloads import WORKLOADS, Sizes, Workload, exchanged_bytes
from dppo_rllib import DPPOConfig
from dppo_rllib.algorithms import collectives
from dppo_rllib.networks import CriticConfig
from dppo_rllib.rollouts.trajectories import concatenate

PAGE = Path(__file__).parents[1] / "docs" / "scaling.md"


# --- Bytes ------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["ddpm", "unet", "pictures"])
def tiny(request: pytest.FixtureRequest) -> tuple[Any, Any, Sizes]:
    """A learner, a runner whose episodes are cut within an iteration, and their bytes."""
    config = tiny_config(request.param, max_episode_steps=5)
    learner, runner = build(config)
    critic = CriticConfig(**{k: v for k, v in config.critic.items() if k != "type"})
    return learner, runner, Sizes.of(module_of(learner).policy.config, critic)


def test_trajectories_have_the_bytes_of_the_model(tiny: Any) -> None:
    learner, runner, sizes = tiny
    found = rollout(learner, runner)
    assert len(found.final_index) > 0
    envs, steps, cut = found.num_envs, found.num_chunk_steps, len(found.final_index)
    assert found.nbytes == sizes.trajectories(envs, steps, cut)
    # Shares of several learners are no more and no less.
    assert sum(shard.nbytes for shard in found.split(envs)) == found.nbytes


def test_weights_have_the_bytes_of_the_model(tiny: Any) -> None:
    learner, _, sizes = tiny
    state = learner.acting_state(["actor_ft", "eta"])["rl_module"]
    assert sum(np.asarray(value).nbytes for value in state.values()) == sizes.weights


def test_learners_exchange_the_bytes_of_the_model(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, runner, sizes = tiny
    found = rollout(learner, runner)
    told: list[int] = []
    summed: list[int] = []

    def gather(value: Any) -> list[Any]:
        """As if another learner had as many environments, with the same rewards."""
        if isinstance(value, tuple):
            own, columns = value
            told.append(own.nbytes + columns.nbytes)
            return [value, (own + len(own), columns)]
        if isinstance(value, np.ndarray):
            told.append(value.nbytes)
            return [value, value + 100]
        return [value]

    monkeypatch.setattr(collectives, "world_size", lambda: 2)
    monkeypatch.setattr(collectives, "gather", gather)
    monkeypatch.setattr(
        collectives, "all_reduce_sum", lambda tensors: summed.append(sum(t.nbytes for t in tensors))
    )
    update(learner, found)
    assert sum(told) == exchanged_bytes(found.num_envs, found.num_chunk_steps)
    assert set(summed) == {sizes.gradients}
    pairs = 2 * found.num_envs * found.num_chunk_steps * module_of(learner).policy.chain_steps
    config = learner.config
    assert len(summed) == config.num_epochs * (pairs // config.minibatch_size)


def test_trajectories_for_measuring_are_as_real_ones() -> None:
    hopper = WORKLOADS[0]
    shards = [scaling.random_trajectories(hopper, 2, 3, first) for first in (0, 2)]
    assert concatenate(shards).nbytes == hopper.sizes.trajectories(4, 3, truncated=0)


# --- Seconds ----------------------------------------------------------------------------------

seconds = st.floats(1e-9, 1e3)
costs = st.builds(
    Costs, call=seconds, chunk=seconds, env=seconds, row=seconds, pair=seconds, step=seconds
)
drivers = st.builds(Driver, iteration=seconds, runner=seconds)
clusters = st.builds(
    Cluster,
    bandwidth=st.floats(1e3, 1e12),
    latency=st.floats(0, 1),
    cores=st.integers(1, 256),
    spread=st.floats(0, 1),
)
tasks = st.sampled_from(WORKLOADS)
layouts = st.builds(
    Layout, runners=st.integers(1, 2000), learners=st.integers(1, 40), speed=st.floats(0.1, 1e4)
)


def alone(layout: Layout) -> Layout:
    return replace(layout, runners=1)


@given(tasks, costs, drivers, layouts, clusters)
def test_efficiency_is_between_nothing_and_one(
    task: Workload, cost: Costs, driver: Driver, layout: Layout, cluster: Cluster
) -> None:
    one, many = (predict(task, cost, driver, who, cluster) for who in (alone(layout), layout))
    assert 0 < efficiency(one, many, layout.runners) <= 1 + 1e-9
    assert efficiency(one, one, 1) == pytest.approx(1)


@given(tasks, costs, drivers, layouts, clusters)
def test_no_number_of_runners_is_faster_than_what_they_do_not_share(
    task: Workload, cost: Costs, driver: Driver, layout: Layout, cluster: Cluster
) -> None:
    one, many = (predict(task, cost, driver, who, cluster) for who in (alone(layout), layout))
    path = sum(one.stages[name] for name in ("preparation", "update", "gradients"))
    # One chunk of one environment is the least that anybody samples.
    path += cost.env_seconds(task) + cost.call + cost.chunk + driver.iteration
    assert many.seconds >= path * (1 - 1e-9)


@given(tasks, costs, drivers, layouts, clusters)
def test_twice_the_runners_never_sample_for_longer(
    task: Workload, cost: Costs, driver: Driver, layout: Layout, cluster: Cluster
) -> None:
    twice = replace(layout, runners=2 * layout.runners)
    some, more = (predict(task, cost, driver, who, cluster) for who in (layout, twice))
    for stage in ("simulation", "policy"):
        assert more.stages[stage] <= some.stages[stage] * (1 + 1e-9)
    assert more.stages["weights"] >= some.stages["weights"]
    assert more.stages["driver"] >= some.stages["driver"]


@given(tasks, layouts)
def test_runners_sample_what_an_iteration_takes(task: Workload, layout: Layout) -> None:
    share = Share.of(task, layout)
    assert share.envs >= layout.learners
    assert share.envs * layout.runners >= task.envs
    assert share.envs * share.chunk_steps * layout.runners >= task.rows
    if task.whole_episodes:
        assert share.chunk_steps == task.chunk_steps


@given(tasks, costs, drivers, layouts, st.floats(1, 1e3))
def test_a_faster_learner_never_takes_longer(
    task: Workload, cost: Costs, driver: Driver, layout: Layout, times: float
) -> None:
    faster = replace(layout, speed=times * layout.speed)
    one, two = (predict(task, cost, driver, who, Cluster()) for who in (layout, faster))
    assert two.seconds <= one.seconds * (1 + 1e-9)


def test_the_bottleneck_is_the_longest_stage() -> None:
    iteration = Iteration(rows=1, sent=0, stages={"weights": 1, "update": 3, "driver": 2})
    assert (iteration.bottleneck, iteration.seconds) == ("update", 6)


@given(costs, drivers)
def test_two_of_each_are_expected_to_reach_at_most_twice_one(cost: Costs, driver: Driver) -> None:
    shares = scaling.expected_efficiencies(WORKLOADS[0], cost, driver)
    assert all(0 < share <= 1 + 1e-9 for share in shares)


# --- Workloads and page -----------------------------------------------------------------------


def test_hopper_has_the_settings_of_the_configuration() -> None:
    hopper, config = WORKLOADS[0], DPPOConfig()
    assert hopper.chunk_steps == config.rollout_fragment_length
    assert hopper.envs == config.num_env_runners * config.num_envs_per_env_runner
    assert (hopper.minibatch, hopper.epochs) == (config.minibatch_size, config.num_epochs)
    assert hopper.policy == config.policy_config(hopper.policy.obs_dim, hopper.policy.action_dim)


def test_the_page_is_what_the_model_says() -> None:
    begin, end = marks(scaling.MODEL)
    block = PAGE.read_text().partition(begin)[2].partition(end)[0]
    assert block.strip() == as_page(Constants.load()), "see docs/scaling.md on how to fill it in"


def test_the_example_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(PAGE.read_text().partition("```python\n")[2].partition("```")[0], {})
    assert "'gradients'" in capsys.readouterr().out


def test_constants_are_kept_to_four_digits(tmp_path: Path) -> None:
    constants = Constants.load()
    precise = replace(constants, driver=Driver(iteration=1 / 3, runner=0.25))
    precise.save(tmp_path / "constants.json")
    kept = Constants.load(tmp_path / "constants.json")
    assert kept == replace(constants, driver=Driver(iteration=0.3333, runner=0.25))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (100, "100"), (12345, "12,300"), (1.5, "1.5"), (0.000123456, "0.000123")],
)
def test_figures_have_three_digits(value: float, shown: str) -> None:
    assert figure(value) == shown


def test_constants_are_measured_on_what_the_workload_is() -> None:
    found = scaling.measure_costs(WORKLOADS[0], rounds=1, rows=64)
    assert found.env is not None
    values = (found.chunk, found.env, found.row, found.pair, found.step)
    assert all(math.isfinite(value) and value > 0 for value in values)
    assert found.call >= 0


@pytest.mark.slow
def test_the_command_measures_and_fills_the_page_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, saved = tmp_path / "scaling.md", []
    page.write_text("\n".join(line for name in ("measured", "model") for line in marks(name)))
    monkeypatch.setattr(scaling, "ROWS", {work.name: 32 for work in WORKLOADS})
    monkeypatch.setattr(Constants, "save", lambda constants: saved.append(constants))
    scaling.main(rounds=1, chunk_steps=2, minibatch=200, epochs=1, markdown=page)
    assert len(saved) == 1
    text = page.read_text()
    assert all(work.name in text for work in WORKLOADS)
    assert "| update, pairs/s of 1 and 2 learners |" in text
