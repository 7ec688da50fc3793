"""Sweeps are read from files and tried before they run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from ray.tune.schedulers import ASHAScheduler, PopulationBasedTraining

from dppo_rllib.checkpoints import PolicyCheckpoint, save_policy
from dppo_rllib.modules import GaussianPolicy, GaussianPolicyConfig
from dppo_rllib.sweeps import Sweep, check_sweep, load_sweep, trial_config
from dppo_rllib.sweeps.check import drawn_configurations
from dppo_rllib.sweeps.trial import learn_tasks
from dppo_rllib.tasks import Task, get_task

SHIPPED = Path(__file__).parents[2] / "tune_configs"
HOPPER = Sweep("hopper", {"task": "hopper-medium"}, iterations=2)


def with_space(**space: Any) -> Sweep:
    return replace(HOPPER, param_space=HOPPER.param_space | space)


@pytest.mark.parametrize("name", ["hopper_clip", "hopper_asha", "hopper_pbt", "hopper_seeds"])
def test_shipped_sweeps_can_run(name: str) -> None:
    check_sweep(load_sweep(SHIPPED / f"{name}.py"))


def test_the_searcher_gets_a_space_that_it_can_read() -> None:
    pytest.importorskip("optuna", reason="pip install 'dppo_rllib[optuna]'")
    sweep = load_sweep(SHIPPED / "hopper_optuna.py")
    check_sweep(sweep)
    assert sweep.search_alg is not None
    sweep.search_alg.set_search_properties(sweep.metric, sweep.mode, dict(sweep.param_space))
    for trial in range(3):
        drawn = sweep.search_alg.suggest(str(trial))
        assert 1e-4 <= drawn["actor_lr"] <= 1e-3
        trial_config({**sweep.param_space, **drawn}).validate()


def test_the_papers_table_pairs_algorithms_with_policies_of_their_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sweep = load_sweep(SHIPPED / "paper_table.py")
    with pytest.raises(FileNotFoundError, match="pretrained/hopper-medium-gaussian"):
        check_sweep(sweep)
    pairs = {(d["algorithm"], d["base_policy"] is None) for d in drawn_configurations(sweep)}
    assert ("DPPO", True) in pairs and ("GaussianPPO", False) in pairs and len(pairs) == 4


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"clip_parm": tune.grid_search([0.1])}, "clip_parm=0.1: .* did you mean clip_param"),
        ({"network.mlp_dim": [8]}, "network.mlp_dim: unknown; did you mean mlp_dims"),
        ({"clip_param": tune.choice(["x"])}, "clip_param='x': expected float"),
        ({"gamma": tune.uniform(1.5, 2)}, "gamma=1.*: expected a number from 0 to 1"),
        ({"ft_denoising_steps": tune.grid_search([5, 50])}, "=50: expected .* sampler's 20"),
        ({"task": "hoper-medium"}, "did you mean hopper-medium"),
        ({"algorithm": "PPO"}, "algorithm='PPO': expected one of"),
        ({"num_env_runners": 3}, "num_env_runners=3: expected a divisor"),
    ],
)
def test_a_typo_in_a_space_is_an_error_at_once(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_sweep(with_space(**space))


def test_what_a_population_varies_is_tried_too() -> None:
    mutations = {"clip_parm": tune.uniform(0.01, 0.1)}
    scheduler = PopulationBasedTraining(hyperparam_mutations=mutations)
    with pytest.raises(ValueError, match="clip_parm=.*: not a setting"):
        check_sweep(replace(HOPPER, scheduler=scheduler))
    check_sweep(replace(HOPPER, scheduler=ASHAScheduler()))


def test_a_missing_policy_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        check_sweep(with_space(base_policy=str(tmp_path / "nowhere")))


def test_a_trial_is_the_tasks_fine_tuning_in_one_process(tmp_path: Path) -> None:
    config = trial_config({"task": "hopper-medium", "clip_param": 0.05, "network.time_dim": 16})
    assert (config.num_env_runners, config.num_learners, config.clip_param) == (0, 0, 0.05)
    assert config.num_envs_per_env_runner == 40 and config.seed is None
    spread = trial_config({"task": "hopper-medium", "num_env_runners": 4, "num_learners": 1})
    assert (spread.num_env_runners, spread.num_envs_per_env_runner) == (4, 10)
    assert spread.num_learners == 1


def test_a_process_keeps_the_tasks_that_it_knows(tmp_path: Path) -> None:
    known = get_task("hopper-medium")
    new = Task(name="new-here", description="", env="Pendulum-v1", obs_dim=3, action_dim=1)
    learn_tasks([replace(known, dataset=tmp_path, base_policy=tmp_path), new])
    assert get_task("hopper-medium") is known
    assert get_task("new-here") is new


def test_a_trial_starts_from_a_run_of_any_kind_of_policy(tmp_path: Path) -> None:
    made = GaussianPolicyConfig(11, 3)
    policy = PolicyCheckpoint(made, GaussianPolicy(made).state_dict())
    save_policy(policy, tmp_path / "run" / "policy")
    drawn = {"task": "hopper-medium", "base_policy": str(tmp_path / "run")}
    assert trial_config(drawn).algo_class.__name__ == "GaussianPPO"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"param_space": {}}, "param_space: has no 'task'"),
        ({"iterations": 0}, "iterations=0: expected at least 1"),
        ({"num_samples": 0}, "num_samples=0"),
        ({"mode": "most"}, "mode='most': expected 'max' or 'min'"),
    ],
)
def test_a_sweep_says_what_it_lacks(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(HOPPER, **fields)


def test_a_file_without_a_sweep_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.py: no such file"):
        load_sweep(tmp_path / "none.py")
    (tmp_path / "empty.py").write_text("SWEEP = 3")
    with pytest.raises(ValueError, match=r"SWEEP=3, expected a dppo_rllib.sweeps.Sweep"):
        load_sweep(tmp_path / "empty.py")
