from dataclasses import replace
from pathlib import Path

import pytest

from dppo_rllib.checkpoints import PolicyCheckpoint, save_policy
from dppo_rllib.modules import DiffusionPolicy, DiffusionPolicyConfig
from dppo_rllib.networks import DiffusionMLPConfig
from dppo_rllib.tasks import (
    HOPPER_MEDIUM,
    Requirement,
    Task,
    Variant,
    get_task,
    missing_requirements,
    register,
    task_names,
)
from dppo_rllib.tasks.load import load_tasks

TASK_FILE = """
from dppo_rllib.tasks import Task, register
register(Task(name="{name}", description="", env="Pendulum-v1", obs_dim=3, action_dim=1))
"""


def test_hopper_is_registered_with_its_data() -> None:
    assert "hopper-medium" in task_names()
    assert get_task("hopper-medium") is HOPPER_MEDIUM
    assert HOPPER_MEDIUM.dataset is not None
    assert (HOPPER_MEDIUM.dataset / "meta" / "info.json").is_file()


def test_an_unknown_name_is_answered_with_similar_ones() -> None:
    with pytest.raises(ValueError, match="did you mean hopper-medium"):
        get_task("hoper-medium")


def test_a_task_is_the_same_in_another_simulator_but_for_its_environment() -> None:
    here, there = get_task("one-leg-low-unet"), get_task("one-leg-low-unet@isaacgym")
    assert there.name == "one-leg-low-unet@isaacgym"
    assert (here.env, there.env) == ("dppo_rllib/OneLegLow-v0", "dppo_rllib/OneLegLowIsaac-v0")
    assert missing_requirements(there) == []
    assert (here.gpu_simulator, there.gpu_simulator) == (False, True)
    common = {"name": "one", "env": "any", "requires": (), "variants": {}, "gpu_simulator": False}
    assert replace(here, **common) == replace(there, **common)


def test_furniture_runs_on_mujoco_warp_as_well() -> None:
    there = get_task("lamp-med@mujoco_warp")
    assert there.env == get_task("lamp-med").env
    # Demonstrations are collected with a thread for each core unless a task says otherwise.
    assert there.env_config == {"simulator": "mujoco_warp", "num_threads": 1}
    assert there.gpu_simulator
    assert set(get_task("lamp-med").requires) < set(there.requires)


def test_a_variant_brings_arguments_besides_the_tasks_own() -> None:
    variant = Variant("Hopper-v4", {"frame_skip": 2}, (Requirement(extra="x", module="x"),))
    task = replace(HOPPER_MEDIUM, name="hopper-test", env_config={"healthy_reward": 0.0})
    register(replace(task, variants={"old": variant}))
    there = get_task("hopper-test@old")
    assert there.env_config == {"healthy_reward": 0.0, "frame_skip": 2}
    assert (there.env, there.requires) == ("Hopper-v4", variant.requires)


@pytest.mark.parametrize("name", ["one-leg-low@bullet", "one-leg-low@", "hopper-medium@isaacgym"])
def test_an_unknown_variant_is_answered_with_those_that_there_are(name: str) -> None:
    known = r"expected one of \['one-leg-low', 'one-leg-low@isaacgym', 'one-leg-low@mujoco_warp'"
    with pytest.raises(
        ValueError, match=known if "leg" in name else r"\['hopper-medium', 'hopper-medium@v4'\]"
    ):
        get_task(name)


def test_a_name_cannot_be_taken_by_another_task() -> None:
    assert register(HOPPER_MEDIUM) is HOPPER_MEDIUM
    with pytest.raises(ValueError, match="registered already"):
        register(replace(HOPPER_MEDIUM, env="Hopper-v4"))


@pytest.mark.parametrize("field", ["obs_dim", "action_dim", "num_envs", "epochs", "iterations"])
def test_counts_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        replace(HOPPER_MEDIUM, **{field: 0})


def test_missing_packages_are_named_by_the_command_that_installs_them() -> None:
    ours = Requirement(extra="gizmo", module="no_such_module")
    theirs = Requirement(package="gizmo==2", options="--no-deps", module="no_such_module")
    task = replace(HOPPER_MEDIUM, requires=(ours, theirs))
    assert missing_requirements(task) == [
        'pip install "dppo_rllib[gizmo]"',
        'pip install --no-deps "gizmo==2"',
    ]
    assert missing_requirements(replace(task, requires=())) == []


def test_a_requirement_is_an_extra_or_a_package() -> None:
    with pytest.raises(ValueError, match="expected one of them"):
        Requirement(module="gizmo")


@pytest.mark.parametrize(("runners", "envs"), [(0, 40), (1, 40), (2, 20), (8, 5), (40, 1)])
def test_environments_are_divided_among_runners(runners: int, envs: int) -> None:
    assert HOPPER_MEDIUM.envs_per_runner(runners) == envs


@pytest.mark.parametrize("runners", [3, 41, -1])
def test_environments_that_cannot_be_divided_are_refused(runners: int) -> None:
    with pytest.raises(ValueError, match="expected a divisor"):
        HOPPER_MEDIUM.envs_per_runner(runners)


def test_pretraining_is_configured_as_by_the_authors() -> None:
    config = HOPPER_MEDIUM.pretrain_config()
    official = {"lr": 1e-3, "min_lr": 1e-4, "minibatch_size": 128, "weight_decay": 1e-6}
    official |= {"lr_cycle_epochs": 200, "lr_warmup_epochs": 1, "ema_decay": 0.995}
    official |= {"denoising_steps": 20, "horizon_steps": 4, "cond_steps": 1}
    assert {name: getattr(config, name) for name in official} == official
    assert (config.env, config.task) == ("Hopper-v5", "hopper-medium")
    assert config.normalization is not None
    assert HOPPER_MEDIUM.epochs == 200


def test_finetuning_is_configured_as_by_the_authors(hopper_policy: Path) -> None:
    config = HOPPER_MEDIUM.finetune_config(hopper_policy, num_env_runners=4)
    official = {"gamma": 0.99, "lambda_": 0.95, "gamma_denoising": 0.99, "num_epochs": 5}
    official |= {"actor_lr": 1e-4, "critic_lr": 1e-3, "minibatch_size": 50_000}
    official |= {"clip_param": 0.01, "clip_param_base": 0.01, "clip_param_rate": 3}
    official |= {"target_kl": 1, "vf_loss_coeff": 0.5, "n_critic_warmup_itr": 0}
    official |= {"ft_denoising_steps": 10, "rollout_fragment_length": 500}
    official |= {"min_sampling_denoising_std": 0.1, "min_logprob_denoising_std": 0.1}
    official |= {"max_episode_steps": 1000, "reward_scale_running": True}
    assert {name: getattr(config, name) for name in official} == official
    assert config.num_env_runners * config.num_envs_per_env_runner == 40


@pytest.mark.parametrize("ft_steps", [0, 2])
def test_a_policy_goes_before_the_settings_of_its_task(ft_steps: int, tmp_path: Path) -> None:
    made = DiffusionPolicyConfig(
        obs_dim=11,
        action_dim=3,
        horizon_steps=8,
        act_steps=8,
        ft_denoising_steps=ft_steps,
        network=DiffusionMLPConfig(mlp_dims=(8,)),
    )
    policy = PolicyCheckpoint(made, DiffusionPolicy(made).state_dict())
    path = save_policy(policy, tmp_path / "policy")
    settings = {
        "network": {"mlp_dims": (16,)},
        "horizon_steps": 4,
        "act_steps": 2,
        "ddim_steps": 5,
        "ft_denoising_steps": 5,
    }
    task = replace(HOPPER_MEDIUM, settings={"DPPO": settings})
    config = task.finetune_config(path)
    config.validate()
    assert (config.network["mlp_dims"], config.horizon_steps) == ((8,), 8)
    fine_tuned = (config.act_steps, config.ddim_steps, config.ft_denoising_steps)
    assert fine_tuned == ((8, None, 2) if ft_steps else (2, 5, 5))


def test_a_task_without_data_says_how_to_get_on() -> None:
    bare = Task(name="bare", description="", env="Pendulum-v1", obs_dim=3, action_dim=1)
    with pytest.raises(ValueError, match="no demonstrations"):
        bare.pretrain_config()
    with pytest.raises(ValueError, match="dppo pretrain bare"):
        bare.finetune_config()


def test_a_file_registers_tasks_once(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(TASK_FILE.format(name="of-a-file"))
    load_tasks(file)
    load_tasks(file)
    assert get_task("of-a-file").env == "Pendulum-v1"


def test_a_missing_or_foreign_tasks_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_tasks(tmp_path / "none.py")
    (tmp_path / "tasks.txt").write_text("")
    with pytest.raises(ValueError, match="expected a Python file"):
        load_tasks(tmp_path / "tasks.txt")
